//! Manifests put together and damaged at random: nothing makes the checks panic, and what they accept becomes a system
//! image that the hypervisor's reader accepts.

use super::*;

/// George Marsaglia's xorshift64: the same manifests in every run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }

    fn one_of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())]
    }
}

/// What is written anew in [`GOOD`], each with values good and bad.
const VALUES: [(&str, &[&str]); 14] = [
    ("\"test\"", &["\"x\"", "\"\"", "\"a b\"", "\"0123456789012345678901234567890\u{e9}\""]),
    ("\"64 MiB\"", &["\"8 MiB\"", "\"7 MiB\"", "\"10 MiB\"", "\"1 GiB\"", "\"448 MiB\"", "\"0 KiB\""]),
    ("\"8 MiB\"", &["\"8192 KiB\"", "\"9 MiB\"", "\"64 GiB\"", "\"18446744073709551615 GiB\""]),
    ("cpu = 0", &["cpu = 1", "cpu = 63", "cpu = -1", "cpu = 0x1"]),
    ("priority = 20", &["priority = 0", "priority = 31", "priority = 32"]),
    ("times = 3", &["times = 1", "times = 16", "times = 17"]),
    ("within_s = 10", &["within_s = 1", "within_s = 4294967295", "within_s = 0"]),
    (
        "\"0x2f8-0x2ff\"",
        &["\"0x1-0xffff\"", "\"0x3e8\"", "\"0x400-0x40f\"", "\"0xffff\"", "\"0x3e0-0x3ef\"", "\"0-1\""],
    ),
    ("\"0x3e8\"", &["\"0x2ff\"", "\"0x300-0x377\"", "\"0xd00-0xffff\"", "\"0xcff\"", "\"0xfff0-0xffff\""]),
    (
        "interrupt = 3",
        &["interrupt = 1", "interrupt = 5", "interrupt = 239", "interrupt = 240", "interrupt = 2"],
    ),
    ("0xfd000000", &["0xfdfff000", "0xfe000000", "0x40000000", "0", "0x3fffff000000", "0xfd000001"]),
    ("0xe0000000", &["0x20000000", "0xfd000000", "0xfeff0000", "0xfec00000", "0x7fffffffffffffff"]),
    ("\"16 MiB\"", &["\"4 KiB\"", "\"2 KiB\"", "\"512 MiB\"", "\"65536 GiB\"", "\"17179869183 GiB\""]),
    (
        "[\"two\", \"one\"]",
        &["[\"one\", \"two\"]", "[\"one\", \"one\"]", "[\"one\"]", "[\"three\", \"one\"]"],
    ),
];

const ROUNDS: usize = 3000;

#[test]
fn what_passes_becomes_an_image() {
    let folder = folder();
    let path = folder.path().join("system.toml");
    let machine = Machine { cpus: 2, ..Machine::default() };
    let mut random = Random(0x5eed_5eed_5eed_5eed);
    let mut accepted = 0;
    for _ in 0..ROUNDS {
        let mut text = GOOD.to_owned();
        for _ in 0..=random.below(3) {
            let (from, choices) = random.one_of(&VALUES);
            text = text.replacen(from, random.one_of(choices), 1);
        }
        // More domains, devices and channels than the good one has.
        for _ in 0..random.below(8) {
            let name = random.next() % 100;
            text += &format!("[[domain]]\nname = \"{name}\"\nimage = \"guest.elf\"\nmemory = \"8 MiB\"\n");
            text += &format!("vcpus = [{{ cpu = 0 }}]\ndevices = [{{ interrupt = {} }}]\n", 100 + name);
            text += &format!("[[channel]]\nbetween = [\"two\", \"{name}\"]\n").repeat(1 + random.below(2));
        }
        let Ok(manifest) = Manifest::parse(&path, &text, &machine) else { continue };
        // Writing an image ends with reading it.
        let image = manifest.compile(Some(crate::machine::DEBUG_EXIT_PORT));
        assert!(image.is_ok(), "{text}\n{}", image.unwrap_err());
        assert!(!Description(&manifest).to_string().is_empty());
        accepted += 1;
    }
    // Neither all nor none: the test tests both ways of the checks.
    assert!((ROUNDS / 50..ROUNDS / 2).contains(&accepted), "{accepted}");
}

#[test]
fn damaged_text() {
    const PIECES: [&str; 16] = [
        "\"",
        "[",
        "]",
        "{",
        "}",
        "=",
        "\n",
        ",",
        "\u{e9}\u{1f600}",
        "\r\n",
        "\t",
        "'''",
        "#",
        "0x",
        "-",
        "\u{0}",
    ];
    let folder = folder();
    let path = folder.path().join("system.toml");
    let mut random = Random(0xdead_beef_dead_beef);
    let mut refused = 0;
    for _ in 0..ROUNDS {
        let mut text: Vec<char> = GOOD.chars().collect();
        for _ in 0..=random.below(3) {
            let (at, length) = (random.below(text.len()), random.below(4));
            let end = (at + length).min(text.len());
            text.splice(at..end, random.one_of(&PIECES).chars());
        }
        let text: String = text.into_iter().collect();
        // The message is made in there, with all its places.
        match Manifest::parse(&path, &text, &Machine { cpus: 2, ..Machine::default() }) {
            Ok(manifest) => assert!(manifest.compile(None).is_ok(), "{text}"),
            Err(failure) => {
                assert!(failure.to_string().contains("error: "));
                refused += 1;
            }
        }
    }
    assert!((ROUNDS / 2..ROUNDS).contains(&refused), "{refused}");
}
