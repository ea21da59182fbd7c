//! The program `conform` on targets that only print: every verdict, exit code and way to resume, and that the reports
//! are what they claim to be.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

/// A run that has ended.
struct Ran {
    folder: TempDir,
    output: Output,
    seconds: f64,
}

impl Ran {
    fn stdout(&self) -> String {
        String::from_utf8_lossy(&self.output.stdout).into_owned()
    }

    fn file(&self, name: &str) -> String {
        fs::read_to_string(self.folder.path().join("out").join(name)).unwrap()
    }

    fn json(&self) -> Value {
        serde_json::from_str(&self.file("report.json")).unwrap()
    }

    /// Verdicts by test.
    fn verdicts(&self) -> BTreeMap<String, String> {
        let json = self.json();
        let tests = json["tests"].as_array().unwrap().iter();
        tests.map(|test| (text(&test["name"]), text(&test["verdict"]))).collect()
    }

    fn problems(&self) -> Vec<String> {
        self.json()["problems"].as_array().unwrap().iter().map(|problem| text(&problem["text"])).collect()
    }

    /// Exit code, verdict on the last line and verdict in the JSON agree.
    fn expect(&self, verdict: &str) -> &Self {
        let code = match verdict {
            "pass" => 0,
            "fail" => 110,
            "error" => 111,
            "skip" => 112,
            "crash" => 113,
            _ => 114,
        };
        assert_eq!(self.output.status.code(), Some(code), "{}", self.stdout());
        assert_eq!(self.stdout().lines().last(), Some(format!("verdict: {verdict}").as_str()));
        assert_eq!(self.json()["verdict"], verdict);
        self
    }

    fn expect_tests(&self, wanted: [(&str, &str); 4]) -> &Self {
        let mut verdicts = self.verdicts();
        verdicts.remove("run.shutdown");
        let wanted = wanted.map(|(name, verdict)| (name.to_owned(), verdict.to_owned()));
        assert_eq!(verdicts, BTreeMap::from(wanted), "{}", self.stdout());
        self
    }

    fn expect_problem(&self, words: &str) -> &Self {
        assert!(self.problems().iter().any(|problem| problem.contains(words)), "{:?}", self.problems());
        self
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

const ALL_WELL: [(&str, &str); 4] =
    [("a.one", "pass"), ("a.two", "pass"), ("a.skip", "skip"), ("b.three", "pass")];

/// All is well but for `a.two`.
const fn but_two(verdict: &'static str) -> [(&'static str, &'static str); 4] {
    [("a.one", "pass"), ("a.two", verdict), ("a.skip", "skip"), ("b.three", "pass")]
}

const LIMITS: &str = "[limits]\ntotal_s = 60\nstart_s = 1\nsilence_s = 1\nend_s = 1\n";
const END: &str = "[end]\nstatus_when_passed = 1\nstatus_when_failed = 3\n";

fn run(behaviour: &str) -> Ran {
    run_target(behaviour, END, &[])
}

fn run_target(behaviour: &str, sections: &str, options: &[&str]) -> Ran {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fake-target.sh");
    let command = format!("[start]\ncommand = [{script:?}, {behaviour:?}, '{{cmdline}}']\n");
    let limits = if sections.contains("[limits]") { "" } else { LIMITS };
    run_file(&format!("description = 'a <fake>'\nmost_cpus = 2\n{command}{sections}{limits}"), options)
}

fn run_file(target: &str, options: &[&str]) -> Ran {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| -> PathBuf { folder.path().join(name) };
    fs::write(path("fake.toml"), target).unwrap();
    fs::write(path("suite.elf"), "an ELF").unwrap();
    fs::create_dir(path("spec")).unwrap();
    fs::write(path("spec/SUMMARY.md"), "- [X](x.md)\n").unwrap();
    fs::write(path("spec/x.md"), "# X\n\n**XX-001** It MUST.\n\n**XX-002** It MUST `too`.\n").unwrap();
    fs::write(path("spec/untestable.toml"), "XX-002 = 'nobody can look there'\n").unwrap();
    let started = Instant::now();
    let output = Command::new(env!("CARGO_BIN_EXE_conform"))
        .args(["--target", &path("fake.toml").display().to_string()])
        .args(["--guest", &path("suite.elf").display().to_string()])
        .args(["--spec", &path("spec").display().to_string()])
        .args(["--out", &path("out").display().to_string()])
        .args(options)
        .env("TMPDIR", folder.path())
        .output()
        .unwrap();
    Ran { folder, output, seconds: started.elapsed().as_secs_f64() }
}

#[test]
fn a_good_target_passes() {
    let ran = run("normal");
    ran.expect("pass").expect_tests(ALL_WELL);
    assert_eq!(ran.verdicts()["run.shutdown"], "pass");
    assert!(ran.problems().is_empty());
    assert_eq!(ran.json()["suite"]["said"]["version"], "9.9");
    run("cut-end").expect("pass").expect_tests(ALL_WELL);
    run("noise").expect("pass").expect_tests(ALL_WELL);
}

#[test]
fn verdicts_of_the_suite_are_taken_over() {
    let ran = run("fail");
    ran.expect("fail").expect_tests(but_two("fail"));
    assert!(ran.stdout().contains("fail    a.two XX-001 XX-005  1 of 2 checks; first: <&> it lies"));
    run("error").expect("error").expect_tests(but_two("error"));
}

#[test]
fn a_run_that_proves_nothing_does_not_pass() {
    run_target("normal", END, &["--filter", "a.skip"]).expect("skip");
    run_target("normal", END, &["--filter", "none."]).expect("error").expect_problem("there is no such test");
}

#[test]
fn a_crash_does_not_hide_the_rest() {
    for behaviour in ["crash", "signal", "crash-boot"] {
        let ran = run(behaviour);
        ran.expect("crash").expect_tests(but_two("crash"));
        assert_eq!(ran.json()["starts"], 2);
    }
    let ran = run("crash");
    assert!(ran.stdout().contains("| REGISTER DUMP of a.two"), "{}", ran.stdout());
    assert!(ran.file("console.txt").contains("---- start 2 ----"));
}

#[test]
fn a_target_that_crashes_every_time_is_given_up() {
    let all = [("a.one", "crash"), ("a.two", "crash"), ("a.skip", "crash"), ("b.three", "crash")];
    run("crash-always").expect("crash").expect_tests(all);
    let few = format!("{LIMITS}restarts = 1\n");
    let ran = run_target("crash-always", &few, &[]);
    ran.expect("crash").expect_problem("given up after 2 starts");
    ran.expect_tests([("a.one", "crash"), ("a.two", "crash"), ("a.skip", "error"), ("b.three", "error")]);
}

#[test]
fn a_crash_is_seen_without_an_exit() {
    let ran = run_target("text", "[end]\ncrash_texts = ['hypervisor: panic']\n", &[]);
    ran.expect("crash").expect_tests(but_two("crash"));
    let ran = run("again");
    ran.expect("crash").expect_tests(but_two("crash"));
    assert!(ran.stdout().contains("the target began again"));
}

#[test]
fn silence_in_a_test_is_a_timeout_of_that_test() {
    let ran = run("hang");
    ran.expect("timeout").expect_tests(but_two("timeout"));
    assert!(ran.stdout().contains("nothing was heard of the suite for 1 s"));
}

#[test]
fn endless_output_ends() {
    let ran = run("endless");
    ran.expect("timeout").expect_tests(but_two("timeout"));
    assert!(ran.seconds < 30.0 && ran.file("console.txt").len() < 4 << 20);
}

#[test]
fn the_whole_run_has_a_limit() {
    let limits = "[limits]\ntotal_s = 2\nsilence_s = 50\n";
    let ran = run_target("hang", limits, &[]);
    ran.expect("timeout");
    assert_eq!(ran.verdicts()["b.three"], "error");
    assert!(ran.stdout().contains("the time for the whole run is up"));
    assert!(ran.seconds < 20.0);
}

#[test]
fn silence_from_the_beginning_is_an_error() {
    for behaviour in ["mute", "silent", "garbage"] {
        run(behaviour).expect("error").expect_problem("the suite never said a word");
    }
    let ran = run("mute");
    assert!(ran.stdout().contains("| firmware: hello"));
    run("other-format").expect("error").expect_problem("format 1, not 2");
}

#[test]
fn what_does_not_fit_is_an_error() {
    run("broken").expect("crash").expect_tests(but_two("crash"));
    run("no-verdict").expect("error").expect_tests(but_two("error"));
    run("wrong-counts").expect("error").expect_problem("passed: 77");
    run("unplanned").expect("error").expect_problem("z.z runs, but was not planned");
    run("garbled").expect("error").expect_problem("garbled");
    let twice = run("twice");
    twice.expect("fail").expect_tests(but_two("fail")).expect_problem("a.two ran twice");
}

#[test]
fn an_end_between_tests_is_not_blamed_on_one() {
    let ran = run("between");
    ran.expect("crash").expect_tests(ALL_WELL).expect_problem("between two tests, the target ended");
    run("cut-plan").expect("crash").expect_tests(ALL_WELL);
}

#[test]
fn the_end_is_part_of_the_promise() {
    let wrong = run("wrong-status");
    wrong.expect("fail").expect_tests(ALL_WELL);
    assert_eq!(wrong.verdicts()["run.shutdown"], "fail");
    assert_eq!(run("stays").expect("fail").verdicts()["run.shutdown"], "fail");
    let stays = run_target("stays", "[end]\nwhen_done = 'stays'\n", &[]);
    assert_eq!(stays.expect("pass").verdicts()["run.shutdown"], "skip");
}

#[test]
fn nothing_is_left_behind() {
    for behaviour in ["hang", "crash", "stays"] {
        let ran = run(behaviour);
        let mut left: Vec<String> = fs::read_dir(ran.folder.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        left.sort();
        assert_eq!(left, ["fake.toml", "out", "spec", "suite.elf"]);
    }
}

#[test]
fn consoles_are_files_sockets_or_pipes() {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fake-target.sh");
    let start = |shell: &str| {
        format!("[start]\ncommand = ['sh', '-c', '{shell}', {script:?}, '{{scratch}}', '{{cmdline}}']\n")
    };
    let head = "description = 'x'\n";
    let file = start("\"$0\" normal \"$2\" > \"$1/console\"");
    run_file(&format!("{head}{file}[console]\nfrom = 'file'\npath = '{{scratch}}/console'\n"), &[])
        .expect("pass");
    let stderr = start("\"$0\" normal \"$2\" >&2; yes | head -c 1000000");
    run_file(&format!("{head}{stderr}[console]\nfrom = 'stderr'\n"), &[]).expect("pass");
    let prefixed = start("\"$0\" crash \"$2\" | sed -u \"s/^/[vm1] /\"");
    let ran = run_file(&format!("{head}{prefixed}[console]\nprefix = '[vm1] '\n"), &[]);
    ran.expect("crash").expect_tests(but_two("crash"));
}

#[test]
fn files_are_written_for_each_start() {
    let target = "description = 'x'\n[files]\nconfig = 'guest={guest} cpus={smp}'\n\
                  [start]\ncommand = ['sh', '-c', 'cat \"$0/config\"; exit 0', '{scratch}']\n";
    let ran = run_file(target, &[]);
    ran.expect("error");
    assert!(ran.stdout().contains("suite.elf cpus=1"), "{}", ran.stdout());
}

#[test]
fn targets_that_cannot_be_started_are_refused() {
    let refused = |target: &str, options: &[&str], code: i32, words: &str| {
        let ran = run_file(target, options);
        let stderr = String::from_utf8_lossy(&ran.output.stderr).into_owned();
        assert_eq!(ran.output.status.code(), Some(code), "{stderr}");
        assert!(stderr.contains(words), "{stderr}");
    };
    let good = "description = 'x'\n[start]\ncommand = ['no-such-program']\n";
    refused("description = 1", &[], 106, "fake.toml");
    refused(good, &["--smp", "2"], 106, "at most 1");
    refused(good, &[], 103, "no-such-program");
    let needs = "[[needs]]\nprogram = 'no-such'\ndebian_packages = ['some']\n";
    refused(&good.replace("[start]", &format!("{needs}[start]")), &[], 103, "apt-get install some");
    let disk = "[disk]\nboots = 'native'\nfirmware = 'bios'\n";
    refused(&format!("{good}{disk}"), &[], 103, "cargo pv conform");
    refused(good, &["--filter", "a b"], 2, "test names");
}

#[test]
fn ctrl_c_ends_everything_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("t.toml");
    let limits = "[limits]\nstart_s = 100\n";
    fs::write(&target, format!("description = 'x'\n[start]\ncommand = ['sleep', '54321']\n{limits}"))
        .unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_conform"))
        .arg("--target")
        .arg(&target)
        .args(["--guest", "/dev/null"])
        .spawn()
        .unwrap();
    std::thread::sleep(Duration::from_millis(500));
    let pid = rustix::process::Pid::from_raw(child.id().cast_signed()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    let started = Instant::now();
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert!(started.elapsed() < Duration::from_secs(5));
}

#[test]
fn tap_is_tap() {
    for behaviour in ["fail", "crash", "mute"] {
        let tap = run(behaviour).file("results.tap");
        let mut lines = tap.lines();
        assert_eq!(lines.next(), Some("TAP version 14"));
        let planned: usize = lines.next().and_then(|line| line.strip_prefix("1..")).unwrap().parse().unwrap();
        let points: Vec<&str> =
            lines.clone().filter(|line| line.starts_with("ok ") || line.starts_with("not ok ")).collect();
        assert_eq!(points.len(), planned);
        for (number, point) in (1..).zip(&points) {
            assert!(point.contains(&format!("ok {number} - ")), "{point}");
        }
        // Diagnoses are indented blocks that follow what is not ok, and each ends.
        let blocks = |mark: &str| lines.clone().filter(|line| line.trim() == mark).count();
        let bad = points.iter().filter(|point| point.starts_with("not ok")).count();
        assert_eq!((blocks("---"), blocks("...")), (bad, bad));
        assert!(lines.all(|line| points.contains(&line) || line.starts_with("  ")), "{tap}");
    }
    assert!(run("fail").file("results.tap").contains("ok 3 - a.skip # SKIP absent"));
}

#[test]
fn junit_is_xml_with_the_right_counts() {
    let xml = run("crash").file("junit.xml");
    let document = roxmltree::Document::parse(&xml).unwrap();
    let root = document.root_element();
    assert_eq!(
        (root.tag_name().name(), root.attribute("tests"), root.attribute("errors")),
        ("testsuites", Some("5"), Some("1"))
    );
    let case = |name: &str| {
        document
            .descendants()
            .find(|node| node.has_tag_name("testcase") && node.attribute("name") == Some(name))
            .unwrap()
    };
    let error = case("a.two").children().find(|node| node.has_tag_name("error")).unwrap();
    assert_eq!(error.attribute("type"), Some("crash"));
    assert!(case("a.skip").children().any(|node| node.has_tag_name("skipped")));
    assert!(!case("a.one").children().any(|node| node.is_element()));
    assert!(xml.contains("REGISTER DUMP of a.two"));
    for behaviour in ["garbage", "fail"] {
        roxmltree::Document::parse(&run(behaviour).file("junit.xml")).unwrap();
    }
}

#[test]
fn json_tells_requirements() {
    let ran = run("fail");
    let json = ran.json();
    assert_eq!(json["target"]["name"], "fake");
    assert_eq!(json["counts"]["pass"], 3);
    let requirements = json["requirements"].as_array().unwrap();
    assert_eq!((&requirements[0]["id"], &requirements[0]["verdict"]), (&"XX-001".into(), &"fail".into()));
    assert_eq!(requirements[0]["tests"].as_array().unwrap().len(), 4);
    assert_eq!(
        (&requirements[1]["verdict"], &requirements[1]["untestable"]),
        (&Value::Null, &"nobody can look there".into())
    );
}

#[test]
fn the_page_needs_nothing_else_and_escapes_what_it_shows() {
    let page = run("fail").file("report.html");
    assert!(page.starts_with("<!DOCTYPE html>") && page.contains("a &lt;fake&gt;"));
    assert!(page.contains("&lt;&amp;&gt; it lies") && page.contains("Not testable: nobody can look there"));
    assert!(page.contains("It MUST <code>too</code>"));
    for foreign in ["http:", "https:", "src=", "<link", "<script", "@import", "url("] {
        assert!(!page.contains(foreign), "{foreign}");
    }
    // Every link leads somewhere on the page.
    for link in page.split("href=\"#").skip(1).filter_map(|rest| rest.split('"').next()) {
        assert!(page.contains(&format!("id=\"{link}\"")), "{link}");
    }
}
