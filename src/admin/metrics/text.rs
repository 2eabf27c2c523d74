//! The two text formats: Prometheus 0.0.4 and `OpenMetrics` 1.0.0.
//!
//! They differ in the name of a counter's family, in units, and in the last line. Both want the samples of a family
//! together, below its description.

use std::fmt::{Display, Write};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    Prometheus,
    OpenMetrics,
}

impl Format {
    pub(super) fn content_type(self) -> &'static str {
        match self {
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// A text in the making.
pub(super) struct Exposition {
    format: Format,
    text: String,
}

/// The family whose samples are being written.
pub(super) struct Family<'a> {
    exposition: &'a mut Exposition,
    name: &'static str,
}

/// Names with values; the names are ours, the values anybody's.
pub(super) type Labels<'a> = [(&'a str, &'a str)];

impl Exposition {
    pub(super) fn new(format: Format) -> Self {
        Self { format, text: String::new() }
    }

    /// A count that only grows; its name ends in `_total`.
    pub(super) fn counter(&mut self, name: &'static str, help: &str) -> Family<'_> {
        let family = match self.format {
            Format::Prometheus => name,
            Format::OpenMetrics => name.strip_suffix("_total").unwrap_or(name),
        };
        self.family(name, family, "counter", help)
    }

    pub(super) fn gauge(&mut self, name: &'static str, help: &str) -> Family<'_> {
        self.family(name, name, "gauge", help)
    }

    pub(super) fn histogram(&mut self, name: &'static str, help: &str) -> Family<'_> {
        self.family(name, name, "histogram", help)
    }

    fn family(&mut self, name: &'static str, family: &str, kind: &str, help: &str) -> Family<'_> {
        self.line(format_args!("# HELP {family} {}", escaped(help)));
        self.line(format_args!("# TYPE {family} {kind}"));
        let unit = ["seconds", "bytes"].into_iter().find(|unit| family.ends_with(&format!("_{unit}")));
        if let (Format::OpenMetrics, Some(unit)) = (self.format, unit) {
            self.line(format_args!("# UNIT {family} {unit}"));
        }
        Family { exposition: self, name }
    }

    fn line(&mut self, line: impl Display) {
        // Writing to a String cannot fail.
        let _written = writeln!(self.text, "{line}");
    }

    pub(super) fn finish(mut self) -> (Format, String) {
        if self.format == Format::OpenMetrics {
            self.line("# EOF");
        }
        (self.format, self.text)
    }
}

impl Family<'_> {
    pub(super) fn sample(&mut self, labels: &Labels<'_>, value: impl Display) {
        self.suffixed("", labels, value);
    }

    /// The cumulated counts of a histogram by their upper bounds, which ascend; then the sum, and the count of all.
    pub(super) fn buckets(&mut self, labels: &Labels<'_>, buckets: &[(f64, u64)], sum: f64, count: u64) {
        for (bound, below) in buckets {
            let bound = bound.to_string();
            self.suffixed("_bucket", &[labels, &[("le", bound.as_str())]].concat(), below);
        }
        self.suffixed("_bucket", &[labels, &[("le", "+Inf")]].concat(), count);
        self.suffixed("_sum", labels, sum);
        self.suffixed("_count", labels, count);
    }

    fn suffixed(&mut self, suffix: &str, labels: &Labels<'_>, value: impl Display) {
        let name = self.name;
        if labels.is_empty() {
            return self.exposition.line(format_args!("{name}{suffix} {value}"));
        }
        let labels: Vec<String> =
            labels.iter().map(|(label, value)| format!("{label}=\"{}\"", escaped(value))).collect();
        self.exposition.line(format_args!("{name}{suffix}{{{}}} {value}", labels.join(",")));
    }
}

fn escaped(text: &str) -> String {
    text.replace('\\', r"\\").replace('\n', r"\n").replace('"', "\\\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(format: Format) -> String {
        let mut exposition = Exposition::new(format);
        exposition.counter("x_total", "What it is.").sample(&[("sink", "a\"b\\c\nd")], 7);
        exposition.histogram("y_seconds", "How long.").buckets(&[], &[(0.5, 1), (2.0, 3)], 4.25, 4);
        exposition.finish().1
    }

    #[test]
    fn both_formats_are_written_by_their_rules() {
        let samples = "x_total{sink=\"a\\\"b\\\\c\\nd\"} 7\n";
        let buckets = "y_seconds_bucket{le=\"0.5\"} 1\ny_seconds_bucket{le=\"2\"} 3\ny_seconds_bucket{le=\"+Inf\"} 4\n\
                       y_seconds_sum 4.25\ny_seconds_count 4\n";
        assert_eq!(
            text(Format::Prometheus),
            format!(
                "# HELP x_total What it is.\n# TYPE x_total counter\n{samples}# HELP y_seconds How long.\n\
                 # TYPE y_seconds histogram\n{buckets}"
            )
        );
        assert_eq!(
            text(Format::OpenMetrics),
            format!(
                "# HELP x What it is.\n# TYPE x counter\n{samples}# HELP y_seconds How long.\n\
                 # TYPE y_seconds histogram\n# UNIT y_seconds seconds\n{buckets}# EOF\n"
            )
        );
    }
}
