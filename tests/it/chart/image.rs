//! The image, as far as it can be judged without building it.

use super::tools::{root, run, tools};
use crate::relay::BINARY;

fn vet(binary: &str) -> super::tools::Answer {
    run(root().join("scripts/vet-binary"), &["--libraries", binary], "")
}

#[test]
fn the_relay_needs_no_library_that_the_image_lacks() {
    let answer = vet(BINARY);
    assert!(answer.is_content, "{}", answer.said);
    let bash = vet("/bin/bash");
    assert!(!bash.is_content && bash.said.contains("/bin/bash needs: "), "it can say no: {}", bash.said);
}

#[test]
fn the_dockerfile_is_as_it_should_be() {
    let Some(tools) = tools() else { return };
    tools.content("python/bin/hadolint", &["Dockerfile"], "");
    assert!(!tools.run("python/bin/hadolint", &["-"], "FROM a\nRUN cd b\n").is_content, "it can say no");
}

/// The user, the port and the paths of the image are those that the chart counts on.
#[test]
fn image_and_chart_agree() {
    let text = std::fs::read_to_string(root().join("Dockerfile")).unwrap();
    let (_, last) = text.rsplit_once("\nFROM ").unwrap();
    let values = std::fs::read_to_string(super::tools::chart().join("values.yaml")).unwrap();
    for (image, chart) in [("USER 65532:65532", "runAsUser: 65532"), ("EXPOSE 9464", "port: 9464")] {
        assert!(last.contains(image) && values.contains(chart), "{image}, {chart}");
    }
    for line in
        ["ENTRYPOINT [\"/usr/local/bin/cspr-relay\"]", "CSPR_RELAY_CONFIG=/etc/cspr-relay/config/cspr-relay.yaml"]
    {
        assert!(last.contains(line), "{line}");
    }
    assert!(!last.contains("\nRUN "), "the last stage has no shell to run anything with");
    let version = format!("VERSION={}\n", env!("CARGO_PKG_VERSION"));
    let chart = std::fs::read_to_string(super::tools::chart().join("Chart.yaml")).unwrap();
    assert!(last.contains(&version) && chart.contains(&format!("appVersion: {}\n", env!("CARGO_PKG_VERSION"))));
}
