//! What the chart renders to, judged by Helm itself, the schemas of Kubernetes, and its Pod Security check.

use std::collections::BTreeSet;

use serde_json::Value;

use super::tools::{Case, Tools, chart, run, same_as_file, tools};
use crate::relay::BINARY;

pub(super) const EXAMPLES: &[&str] = &["testnet-webhook", "kafka", "rabbitmq", "strict-network"];
const OLDEST: &str = "1.29.0";
const NEWEST: &str = "1.37.0";
/// The longest that Helm takes.
const LONG: &str = "a-release-name-that-is-as-long-as-helm-lets-it-be-abc";
const LONG_SIBLING: &str = "a-release-name-that-is-as-long-as-helm-lets-it-be-abd";
/// What it finds is opinion here: no CPU limit, no pull at every start, the one replica.
const SCORE: &[&str] = &[
    "score",
    "--output-format",
    "ci",
    "--ignore-container-cpu-limit",
    "--ignore-test",
    "container-image-pull-policy",
    "-",
];

/// Everything that can be on at once.
const EVERYTHING: &str = include_str!("everything.yaml");

const NOTHING: &str = "
adminToken: { existingSecret: '' }
check: false
persistence: { enabled: false }
serviceAccount: { create: false }
networkPolicy: { enabled: false }
tests: { enabled: false }
";

const EXISTING: &str = "
config: null
existingConfigMap: my-config
persistence: { existingClaim: my-claim }
serviceAccount: { create: false, name: my-account }
";

fn matrix() -> Vec<Case> {
    let webhook = || Case::of("testnet-webhook");
    let mut cases: Vec<Case> = EXAMPLES.iter().map(|example| Case::of(example)).collect();
    cases.extend([
        webhook().with("everything on", EVERYTHING),
        webhook().with("everything off", NOTHING),
        webhook().with("objects that exist", EXISTING),
        Case { release: LONG, ..Case::of("kafka").with("a long name", "") },
        webhook().with("long names", &format!("fullnameOverride: {}", "x".repeat(63))),
        webhook().with("another name", "nameOverride: events-out"),
        Case { release: "cspr-relay", ..webhook().with("a release named as the chart", "") },
        Case { kube_version: OLDEST, ..webhook().with("the oldest Kubernetes", EVERYTHING) },
    ]);
    cases
}

/// Does it for every case of the matrix.
fn each(what: impl Fn(&Tools, &Case)) {
    let Some(tools) = tools() else { return };
    matrix().iter().for_each(|case| what(tools, case));
}

#[test]
fn helm_3_and_helm_4_render_the_same() {
    let squeezed = |text: &str| text.lines().filter(|line| !line.is_empty()).collect::<Vec<_>>().join("\n");
    each(|tools, case| {
        let [three, four] = ["helm3", "helm4"].map(|helm| case.helm(tools, helm));
        assert!(three.is_content && four.is_content, "{}: {}{}", case.name, three.said, four.said);
        assert_eq!(squeezed(&three.out), squeezed(&four.out), "{}", case.name);
    });
}

#[test]
fn helm_finds_nothing_to_complain_of() {
    let Some(tools) = tools() else { return };
    let chart = chart().display().to_string();
    for example in EXAMPLES {
        let values = format!("{chart}/examples/{example}.yaml");
        for helm in ["helm3", "helm4"] {
            tools.content(helm, &["lint", "--strict", &chart, "--values", &values], "");
        }
    }
}

#[test]
fn every_object_fits_the_schemas_of_kubernetes() {
    each(|tools, case| {
        let folder = tools.path("schemas").join(case.kube_version);
        let location = format!("{}/{{{{.ResourceKind}}}}{{{{.KindSuffix}}}}.json", folder.display());
        tools.content("kubeconform", &["-strict", "-schema-location", &location], &case.text(tools));
    });
}

#[test]
fn a_field_that_kubernetes_does_not_know_is_found() {
    let Some(tools) = tools() else { return };
    let wrong = Case::of("kafka").text(tools).replace("serviceName:", "serviceNaem:");
    let location =
        format!("{}/{{{{.ResourceKind}}}}{{{{.KindSuffix}}}}.json", tools.path("schemas").join(NEWEST).display());
    let answer = tools.run("kubeconform", &["-strict", "-schema-location", &location], &wrong);
    assert!(!answer.is_content && answer.said.contains("serviceNaem"), "{}", answer.said);
}

#[test]
fn every_pod_is_restricted() {
    each(|tools, case| {
        tools.content("psa", &[], &case.text(tools));
    });
    let Some(tools) = tools() else { return };
    let lax = Case::of("kafka").text(tools).replace("runAsNonRoot: true", "runAsNonRoot: false");
    assert!(!tools.run("psa", &[], &lax).is_content, "it can say no");
}

#[test]
fn objects_relate_to_each_other() {
    let Some(tools) = tools() else { return };
    // The pod of `helm test` lives for a moment and has nothing to guard.
    let relay = |example| Case::of(example).with("without the test", "tests: { enabled: false }");
    for example in EXAMPLES {
        tools.content("kube-score", SCORE, &relay(example).text(tools));
    }
    let text = relay("strict-network").text(tools);
    let lost = text.replacen("app.kubernetes.io/component: relay", "app.kubernetes.io/component: lost", 3);
    assert!(!tools.run("kube-score", SCORE, &lost).is_content, "a selector that finds no pod is found");
}

#[test]
fn no_pod_gets_a_token_nor_any_right_nor_a_secret_in_text() {
    each(|tools, case| {
        let objects = case.objects(tools);
        for kind in ["Secret", "Role", "ClusterRole", "RoleBinding", "ClusterRoleBinding"] {
            assert_eq!(objects.of_kind(kind).count(), 0, "{}: {kind}", case.name);
        }
        let pod = &objects.one("StatefulSet")["spec"]["template"]["spec"];
        assert_eq!(pod["automountServiceAccountToken"], false);
        for container in [&pod["containers"], &pod["initContainers"]].into_iter().filter_map(Value::as_array).flatten()
        {
            assert_eq!(container["securityContext"]["readOnlyRootFilesystem"], true, "{}", case.name);
            let mounts = container["volumeMounts"].as_array().unwrap();
            assert!(mounts.iter().all(|mount| mount["subPath"].is_null()), "{}: never updated", case.name);
        }
    });
}

#[test]
fn every_object_has_its_labels_and_a_name_of_its_own() {
    each(|tools, case| {
        let mut seen = BTreeSet::new();
        for object in &case.objects(tools).0 {
            let (kind, metadata) = (&object["kind"], &object["metadata"]);
            let name = metadata["name"].as_str().unwrap();
            assert!(name.len() <= 63, "{}: {kind} {name}", case.name);
            assert!(seen.insert(format!("{kind} {name}")), "{}: {kind} {name} is there twice", case.name);
            if name != "extra" {
                assert_eq!(metadata["labels"]["app.kubernetes.io/instance"], case.release, "{}: {kind}", case.name);
            }
        }
    });
}

#[test]
fn releases_of_one_namespace_have_nothing_in_common() {
    let Some(tools) = tools() else { return };
    let names = |release| {
        // What the user names is the user's to keep apart.
        let values = EVERYTHING.replace("name: relay-account, ", "");
        let objects = Case { release, ..Case::of("testnet-webhook").with("siblings", &values) }.objects(tools);
        let names = objects.0.iter().map(|object| format!("{} {}", object["kind"], object["metadata"]["name"]));
        names.filter(|name| !name.ends_with("\"extra\"")).collect::<BTreeSet<_>>()
    };
    for (one, other) in [("one", "two"), (LONG, LONG_SIBLING)] {
        let common: Vec<_> = names(one).intersection(&names(other)).cloned().collect();
        assert!(common.is_empty(), "{common:?}");
    }
}

#[test]
fn the_name_of_the_statefulset_leaves_room_for_what_kubernetes_adds() {
    each(|tools, case| {
        let name = case.objects(tools).one("StatefulSet")["metadata"]["name"].as_str().unwrap().to_owned();
        assert!(name.len() <= 52, "{}: {name}", case.name);
    });
}

/// What users get, to be read in a review.
#[test]
fn the_example_renders_to_the_kept_file() {
    let Some(tools) = tools() else { return };
    same_as_file(&chart().join("tests/golden/testnet-webhook.yaml"), &Case::of("testnet-webhook").text(tools));
}

#[test]
fn the_readme_is_that_of_the_values() {
    let Some(tools) = tools() else { return };
    let root = chart().display().to_string();
    let readme = tools.content("helm-docs", &["--chart-search-root", &root, "--dry-run", "--log-level", "error"], "");
    same_as_file(&chart().join("README.md"), &format!("{}\n", readme.trim_end()));
}

#[test]
fn every_value_is_described_and_in_the_schema() {
    let text = std::fs::read_to_string(chart().join("values.yaml")).unwrap();
    let schema: Value =
        serde_json::from_str(&std::fs::read_to_string(chart().join("values.schema.json")).unwrap()).unwrap();
    let values: Value = serde_yaml::from_str(&text).unwrap();
    let known = schema["properties"].as_object().unwrap();
    let named: BTreeSet<_> = values.as_object().unwrap().keys().collect();
    assert_eq!(named, known.keys().collect(), "values.yaml and its schema name the same");
}

#[test]
fn the_units_of_the_chart_pass() {
    let Some(tools) = tools() else { return };
    tools.content("helm-unittest", &["--strict", &chart().display().to_string()], "");
}

/// Rendered with nothing but its own values the chart says what is missing.
#[test]
fn without_values_the_chart_says_what_it_needs() {
    let Some(tools) = tools() else { return };
    let bare = Case { examples: Vec::new(), ..Case::of("testnet-webhook") };
    let answer = bare.helm(tools, "helm4");
    assert!(!answer.is_content && answer.said.contains("there is no configuration; set config"), "{}", answer.said);
}

/// What the notes tell the user to type has to exist in the image.
#[test]
fn the_notes_name_commands_that_there_are() {
    let Some(tools) = tools() else { return };
    let (chart, values) = (chart().display().to_string(), chart().join("examples/testnet-webhook.yaml"));
    let arguments =
        ["install", "relay", &chart, "--dry-run=client", "--values", values.to_str().unwrap(), "--namespace", "events"];
    let said = tools.content("helm4", &arguments, "");
    let (_, notes) = said.split_once("NOTES:").unwrap();
    let commands: Vec<Vec<&str>> = notes
        .lines()
        .filter_map(|line| line.split_once(" exec relay-cspr-relay-0 -- cspr-relay "))
        .map(|(_, command)| command.split(' ').collect())
        .collect();
    assert!(commands.len() >= 2, "{notes}");
    for command in commands {
        let answer = run(BINARY, &[&command[..], &["--help"]].concat(), "");
        assert!(answer.is_content, "{command:?}: {}", answer.said);
    }
}
