//! The whole way: an emulated source, the relay, and the example receivers as they are shipped.

use std::collections::HashMap;

use crate::receivers::Receiver;

use super::{NFT_TOKENS, SECRET, Scene, Setup};

const COUNT: usize = 60;

#[tokio::test]
async fn the_example_receivers_take_what_the_relay_sends() {
    let mut receivers = Vec::new();
    for language in ["node", "python", "java", "go"] {
        receivers.extend(Receiver::start(language, SECRET).await.map(|receiver| (language, receiver)));
    }
    let urls: Vec<String> = receivers.iter().map(|(_, receiver)| receiver.url()).collect();
    // They go by the headers, so any format will do.
    let formats = ["    format: raw\n", "    format: cloudevents\n", "    format: cloudevents_binary\n"];
    let sinks: Vec<(&str, &str, &str)> = receivers
        .iter()
        .zip(&urls)
        .zip(formats.into_iter().cycle())
        .map(|(((language, _), url), format)| (*language, url.as_str(), format))
        .collect();
    let scene = Scene::new();
    let faults = ["--duplicate", "0.1", "--garbage", "0.1"];
    let (mut emulator, url) =
        scene.emulator(&[&["--rate", "0", "--count", &COUNT.to_string()][..], &faults].concat()).await;
    let config =
        scene.configure(&Setup { source: &format!("url: \"{url}\""), streams: NFT_TOKENS, more: "", sinks: &sinks });

    let mut relay = scene.relay(&config);
    for (language, receiver) in &mut receivers {
        let mut verdicts: HashMap<String, String> = HashMap::new();
        for _ in 0..COUNT {
            let decision = receiver.decision().await;
            let text = |key: &str| decision[key].as_str().unwrap().to_owned();
            verdicts.insert(text("id"), text("verdict"));
        }
        assert_eq!(verdicts.len(), COUNT, "{language}: each event once");
        assert!(verdicts.values().all(|verdict| verdict == "applied"), "{language}: {verdicts:?}");
    }
    relay.stop().await;
    emulator.stop().await;
}
