//! Values that are wrong by themselves: the schema refuses them, in both versions of Helm.

use super::tools::{Case, tools};

/// Each beside the simplest example, with a word of the answer.
const WRONG: &[(&str, &str)] = &[
    ("replica: 1", "replica"),
    ("replicas: one", "replicas"),
    ("image: { tag: 1.10 }", "tag"),
    ("image: { digest: sha256:abc }", "digest"),
    ("image: { pullPolicy: Sometimes }", "pullPolicy"),
    ("reload: never", "reload"),
    ("admin: { port: 0 }", "port"),
    ("terminationGracePeriodSeconds: 5", "terminationGracePeriodSeconds"),
    ("persistence: { size: 5 gigabytes }", "size"),
    ("persistence: { accessModes: [ReadWriteSometimes] }", "accessModes"),
    ("persistence: { retentionPolicy: { whenDeleted: Keep } }", "whenDeleted"),
    ("secrets: { market: { secretName: a } }", "secretName"),
    ("secrets: { Market: { existingSecret: a } }", "Market"),
    ("apiKey: literal", "apiKey"),
    ("files: { a.txt: 'routes: {}' }", "a.txt"),
    ("files: { a.yaml: { routes: {} } }", "files"),
    ("podLabels: { x: yes }", "podLabels"),
    ("networkPolicy: { httpsPorts: [https] }", "httpsPorts"),
    ("startupProbe: { failureTreshold: 1 }", "failureTreshold"),
    ("serviceMonitor: { interval: 30x }", "interval"),
    ("extraEnv: { A: b }", "extraEnv"),
    ("livenessProbe: { httpGet: { path: / } }", "httpGet"),
    ("config: { sink: {} }", "sink"),
    ("config: { source: { network: devnet } }", "network"),
    ("config: { store: { max_bytes: lots } }", "max_bytes"),
    ("config: { dedup: { max_keys: 99999999999999999999 } }", "max_keys"),
    ("config: { routes: { bucha-city: { match: { token_id: 123456789012345678901234567890 } } } }", "token_id"),
    ("config: { routes: { bucha-city: { match: { token_id: [119] } } } }", "token_id"),
    ("config: { routes: { bucha-city: { match: { contract_package: 5341882 } } } }", "contract_package"),
    ("config: { routes: { bucha-city: { match: { where: { /data/price: 12345678901234567890 } } } } }", "where"),
    ("config: { sinks: { marketplace: { webhook: { uri: a } } } }", "uri"),
];

#[test]
fn the_schema_refuses_what_is_wrong() {
    let Some(tools) = tools() else { return };
    for (values, word) in WRONG {
        for helm in ["helm3", "helm4"] {
            let answer = Case::of("testnet-webhook").with("wrong", values).helm(tools, helm);
            let is_by_schema = answer.said.contains("don't meet the specifications of the schema");
            assert!(!answer.is_content && is_by_schema, "{helm} takes {values}: {}", answer.said);
            assert!(answer.said.contains(word), "{values}: {}", answer.said);
        }
    }
}

#[test]
fn what_helm_would_round_is_kept_when_it_is_quoted() {
    let Some(tools) = tools() else { return };
    let values = "config: { dedup: { max_keys: 3000000 }, routes: { bucha-city: { match: { token_id: \
                  ['123456789012345678901234567890', '007'], where: { /data/price: { gte: 9007199254740991 } } } } } }";
    let text = Case::of("testnet-webhook").with("quoted", values).text(tools);
    for kept in ["\"123456789012345678901234567890\"", "\"007\"", "max_keys: 3000000", "gte: 9007199254740991"] {
        assert!(text.contains(kept), "{kept} is not in {text}");
    }
}
