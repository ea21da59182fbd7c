//! Channels to nobody, to oneself, or too many.

use super::*;

fn refused_channel(between: &str, words: &[&str]) {
    refused("[\"one\", \"two\"]", between, 27, words);
}

#[test]
fn ends_are_read() {
    let manifest = parse(GOOD).unwrap();
    let channels: Vec<_> =
        manifest.channels.iter().map(|channel| (channel.name.as_deref(), channel.between)).collect();
    assert_eq!(channels, [(Some("frames"), [0, 1]), (None, [1, 0])]);
}

#[test]
fn peers() {
    refused_channel(
        "[\"one\", \"tow\"]",
        &["no domain called `tow`", "did you mean \"two\"?", "`one`, `two`"],
    );
    refused_channel("[\"network\", \"two\"]", &["no domain called `network`", "no domain of this name"]);
    refused_channel("[\"one\", \"one\"]", &["between a domain and itself", "first named here"]);
    refused_channel("[\"one\"]", &["between two domains, not 1"]);
    refused_channel("[]", &["between two domains, not 0"]);
    refused_channel("[\"one\", \"two\", \"one\"]", &["between two domains, not 3"]);
    // While a domain cannot be read, nobody knows which are missing.
    let text = GOOD.replace("memory = \"64 MiB\"", "memory = 64").replace("cpu = 1", "cpu = 9");
    assert!(!parse(&text).map(|_| ()).unwrap_err().contains("no domain called"));
}

#[test]
fn names() {
    refused("\"frames\"", "\"\"", 26, &["the channel's name is empty"]);
    let twice = GOOD.to_owned() + "name = \"frames\"\n";
    refused_text(&twice, 31, &["two channels are called `frames`", "first used here"]);
}

#[test]
fn too_many() {
    let system = |count| GOOD.to_owned() + &"[[channel]]\nbetween = [\"one\", \"two\"]\n".repeat(count);
    assert!(parse(&system(14)).unwrap().compile(None).is_ok());
    let message = parse(&system(15)).map(|_| ()).unwrap_err();
    for domain in ["one", "two"] {
        assert!(message.contains(&format!("more than 16 channels of domain `{domain}`")), "{message}");
    }
    assert!(message.contains("system.toml:60:"), "{message}");
}
