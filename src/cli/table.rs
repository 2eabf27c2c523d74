//! Tables that fit a terminal.

use std::io::{self, Write};

use terminal_size::{Width, terminal_size};

use super::listen::shown;

/// Where standard output is no terminal there is room for everything.
const COLUMNS_DEFAULT: usize = 500;

/// Rows below a heading; the last column takes what room is left. Numbers stand to the right.
pub(super) struct Table {
    heading: Vec<&'static str>,
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(super) fn new(heading: impl Into<Vec<&'static str>>) -> Self {
        Self { heading: heading.into(), rows: Vec::new() }
    }

    /// A row with as many cells as the heading; what does not print is escaped.
    pub(super) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        let cell = |cell: String| if cell.is_empty() { cell } else { shown(&cell, usize::MAX) };
        self.rows.push(cells.into_iter().map(cell).collect());
    }

    pub(super) fn write(&self, out: &mut impl Write) -> io::Result<()> {
        let columns = terminal_size().map_or(COLUMNS_DEFAULT, |(Width(columns), _)| columns.into());
        self.write_within(columns, out)
    }

    fn write_within(&self, columns: usize, out: &mut impl Write) -> io::Result<()> {
        let heading: Vec<String> = self.heading.iter().map(ToString::to_string).collect();
        let widths = self.widths(&heading);
        for row in std::iter::once(&heading).chain(&self.rows) {
            let cells = row.iter().zip(&widths).map(|(cell, (width, is_number))| match is_number {
                true => format!("{cell:>width$}"),
                false => format!("{cell:<width$}"),
            });
            let line = cells.collect::<Vec<_>>().join("  ");
            let line: String = line.trim_end().chars().take(columns).collect();
            writeln!(out, "{line}")?;
        }
        Ok(())
    }

    /// Of each column: how wide it is, and whether it has numbers only.
    fn widths(&self, heading: &[String]) -> Vec<(usize, bool)> {
        let width = |(index, name): (usize, &String)| {
            let cells = || self.rows.iter().filter_map(move |row| row.get(index));
            let width = cells().map(|cell| cell.chars().count()).max().unwrap_or_default();
            let is_time = |cell: &String| cell.contains(':');
            let is_number =
                |cell: &String| cell.is_empty() || (cell.starts_with(|c: char| c.is_ascii_digit()) && !is_time(cell));
            (width.max(name.chars().count()), index > 0 && cells().all(is_number))
        };
        heading.iter().enumerate().map(width).collect()
    }
}

/// A time without the part after the second.
pub(super) fn whole_seconds(time: &str) -> String {
    format!("{}Z", time.get(..19).unwrap_or(time))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_lines_end_at_the_edge() {
        let mut table = Table::new(["sink", "pending", "why"]);
        table.row(["a".to_owned(), "12345678".to_owned(), "\u{1b}[2Jfar too long".to_owned()]);
        table.row(["market".to_owned(), "7".to_owned(), String::new()]);
        let mut out = Vec::new();
        table.write_within(28, &mut out).unwrap();
        let expected = "sink     pending  why\na       12345678  \\u{1b}[2Jf\nmarket         7\n";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }
}
