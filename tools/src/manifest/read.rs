//! From the text of `system.toml` to the structures of [`schema`](super::schema). Finds all mistakes of shape: syntax,
//! keys that are unknown or missing, values of the wrong type.

use std::cell::RefCell;
use std::num::IntErrorKind;
use std::ops::Range;

use toml::Spanned;
use toml::de::{DeInteger, DeTable, DeValue};

use super::report::Problem;
use super::schema::{self, Document, Form, Key, Need, Number, Shape};
use super::suggest;

/// Problems found so far. Readers of nested tables share it.
type Problems = RefCell<Vec<Problem>>;

/// What can be read of the file, and what is wrong with its shape. With wrong syntax, nothing is read: half a file would
/// give rise to complaints about the other half.
pub(super) fn read(text: &str) -> (Option<Document>, Vec<Problem>) {
    let (root, errors) = DeTable::parse_recoverable(text);
    if !errors.is_empty() {
        return (None, errors.iter().map(Problem::of_syntax).collect());
    }
    let problems = Problems::default();
    let document = document(&Table::open(&schema::FILE, 0..0, root.get_ref(), &problems));
    (Some(document), problems.into_inner())
}

fn document(file: &Table<'_>) -> Document {
    let system = file.table("system", &schema::SYSTEM);
    let domains = file.list("domain");
    let read: Vec<_> = domains.unwrap_or_default().iter().map(|value| domain(file, value)).collect();
    Document {
        system: system.and_then(|system| Some(schema::System { name: system.text("name")? })),
        has_all_domains: domains.is_some() && read.iter().all(Option::is_some),
        domains: read.into_iter().flatten().collect(),
        channels: file
            .list("channel")
            .unwrap_or_default()
            .iter()
            .filter_map(|value| channel(file, value))
            .collect(),
    }
}

fn domain<'t>(file: &Table<'t>, value: &'t Spanned<DeValue<'t>>) -> Option<schema::Domain> {
    let table = file.nested(&schema::DOMAIN, "domain", value)?;
    let vcpus = table.spanned_list("vcpus", |value| vcpu(&table, value));
    let devices =
        table.list("devices").unwrap_or_default().iter().filter_map(|value| device(&table, value)).collect();
    let on_crash = on_crash(&table);
    Some(schema::Domain {
        name: table.text("name")?,
        image: table.text("image")?,
        memory: table.text("memory")?,
        vcpus: vcpus?,
        cmdline: table.text("cmdline"),
        console: table.value("console").and_then(|value| value.get_ref().as_bool()).unwrap_or_default(),
        on_crash,
        devices,
    })
}

fn vcpu<'t>(domain: &Table<'t>, value: &'t Spanned<DeValue<'t>>) -> Option<schema::Vcpu> {
    let table = domain.nested(&schema::VCPU, "vcpus", value)?;
    Some(schema::Vcpu { cpu: table.number("cpu")?, priority: table.number("priority") })
}

fn device<'t>(domain: &Table<'t>, value: &'t Spanned<DeValue<'t>>) -> Option<Spanned<schema::Device>> {
    let table = domain.nested(&schema::DEVICE, "devices", value)?;
    let mmio = table.table("mmio", &schema::MMIO).and_then(|mmio| {
        let inner = schema::Mmio { base: mmio.number("base")?, size: mmio.text("size")? };
        Some(Spanned::new(mmio.span.clone(), inner))
    });
    let device = schema::Device {
        name: table.text("name"),
        ports: table.text("ports"),
        mmio,
        interrupt: table.number("interrupt"),
    };
    // A part that was written but not read would make the rest look like a device that it is not.
    let has_lost = table.has("mmio") && device.mmio.is_none()
        || table.has("ports") && device.ports.is_none()
        || table.has("interrupt") && device.interrupt.is_none()
        || !table.meant.is_empty();
    (!has_lost).then(|| Spanned::new(table.span.clone(), device))
}

fn on_crash(domain: &Table<'_>) -> schema::OnCrash {
    if let Some(text) = domain.text("on_crash") {
        return schema::OnCrash::Text(text);
    }
    let restart = || {
        let restart = domain.table("on_crash", &schema::ON_CRASH)?.table("restart", &schema::RESTART)?;
        let (times, within_s) = (restart.number("times"), restart.number("within_s"));
        Some(schema::OnCrash::Restart { times: times?, within_s: within_s? })
    };
    restart().unwrap_or(schema::OnCrash::Default)
}

fn channel<'t>(file: &Table<'t>, value: &'t Spanned<DeValue<'t>>) -> Option<schema::Channel> {
    let table = file.nested(&schema::CHANNEL, "channel", value)?;
    let between = table.spanned_list("between", |value| {
        let text = value.get_ref().as_str();
        if text.is_none() {
            table.report(wrong_type("each of `between`", "a string", value, table.key("between")));
        }
        Some(Spanned::new(value.span(), text?.to_owned()))
    });
    Some(schema::Channel { name: table.text("name"), between: between? })
}

/// A table of the file that is being read. Its keys and their types were checked when it was opened; the getters give
/// `None` for what is missing or of the wrong type.
struct Table<'t> {
    shape: &'static Shape,
    span: Range<usize>,
    entries: &'t DeTable<'t>,
    problems: &'t Problems,
    /// Keys that are there by other names.
    meant: Vec<&'static str>,
}

impl<'t> Table<'t> {
    fn open(
        shape: &'static Shape,
        span: Range<usize>,
        entries: &'t DeTable<'t>,
        problems: &'t Problems,
    ) -> Self {
        let mut table = Self { shape, span, entries, problems, meant: Vec::new() };
        table.meant = table.check_unknown();
        table.check_missing();
        for key in shape.keys {
            let Some(value) = table.value(key.name) else { continue };
            if value.get_ref().as_integer().is_some_and(|text| integer(text).is_none()) {
                table.report(Problem::new("not TOML: invalid number", value.span(), "here"));
            } else if !fits(key.form, value.get_ref()) {
                let name = format!("`{}`", key.name);
                table.report(wrong_type(&name, key.form.article(), value, key));
            }
        }
        table
    }

    /// Opens an element of the list `name`.
    fn nested(
        &self,
        shape: &'static Shape,
        name: &str,
        value: &'t Spanned<DeValue<'t>>,
    ) -> Option<Table<'t>> {
        let Some(entries) = value.get_ref().as_table() else {
            let title = format!("each of `{name}`");
            self.report(wrong_type(&title, Form::Table.article(), value, self.key(name)));
            return None;
        };
        Some(Table::open(shape, value.span(), entries, self.problems))
    }

    /// Reports keys that this table does not have. Returns which ones were meant.
    fn check_unknown(&self) -> Vec<&'static str> {
        let mut meant = Vec::new();
        for (key, value) in self.entries {
            let name = key.get_ref().as_ref();
            if self.shape.keys.iter().any(|known| known.name == name) {
                continue;
            }
            let title = format!("unknown key `{name}` in {}", self.shape.title);
            let likely =
                suggest::key(name, value.get_ref(), self.shape.keys).filter(|likely| !self.has(likely.name));
            let problem = match likely {
                Some(likely) => {
                    meant.push(likely.name);
                    let label = format!("did you mean `{}`?", likely.name);
                    let problem = Problem::new(title, key.span(), label);
                    // With the right name, the value would do.
                    if fits(likely.form, value.get_ref()) {
                        problem
                    } else {
                        problem.help(for_example(likely))
                    }
                }
                None => Problem::new(title, key.span(), "not a key here").help(format!(
                    "{} has {}",
                    self.shape.title,
                    self.names()
                )),
            };
            self.report(problem);
        }
        meant
    }

    /// Reports keys that are missing, unless something else stands in their place.
    fn check_missing(&self) {
        let missing =
            |key: &&Key| key.need == Need::Required && !self.has(key.name) && !self.meant.contains(&key.name);
        for key in self.shape.keys.iter().filter(missing) {
            // Tables of the file are called by their headers.
            let name = if key.example.starts_with('[') { key.example } else { key.name };
            let title = format!("{} has no `{name}`", self.shape.title);
            let label = format!("`{name}` is missing");
            self.report(Problem::new(title, self.span.clone(), label).help(for_example(key)));
        }
    }

    /// The names of all keys, as a sentence has them.
    fn names(&self) -> String {
        let names: Vec<String> = self.shape.keys.iter().map(|key| format!("`{}`", key.name)).collect();
        match names.split_last() {
            Some((last, others)) if !others.is_empty() => {
                format!("the keys {} and {last}", others.join(", "))
            }
            _ => format!("the key {}", names.concat()),
        }
    }

    fn report(&self, problem: Problem) {
        self.problems.borrow_mut().push(problem);
    }

    /// A key of this kind of table.
    fn key(&self, name: &str) -> &'static Key {
        let found = self.shape.keys.iter().find(|key| key.name == name);
        found.unwrap_or_else(|| unreachable!("{} has no key {name}", self.shape.title))
    }

    fn has(&self, name: &str) -> bool {
        self.value(name).is_some()
    }

    fn value(&self, name: &str) -> Option<&'t Spanned<DeValue<'t>>> {
        self.entries.iter().find(|(key, _)| key.get_ref() == name).map(|(_, value)| value)
    }

    fn text(&self, name: &str) -> Option<Spanned<String>> {
        let value = self.value(name)?;
        Some(Spanned::new(value.span(), value.get_ref().as_str()?.to_owned()))
    }

    fn number(&self, name: &str) -> Option<Number> {
        let value = self.value(name)?;
        Some(Spanned::new(value.span(), integer(value.get_ref().as_integer()?)?))
    }

    fn list(&self, name: &str) -> Option<&'t [Spanned<DeValue<'t>>]> {
        self.value(name)?.get_ref().as_array().map(|array| &array[..])
    }

    /// A list, unless one of its elements cannot be read.
    fn spanned_list<T>(
        &self,
        name: &str,
        read: impl Fn(&'t Spanned<DeValue<'t>>) -> Option<T>,
    ) -> Option<Spanned<Vec<T>>> {
        let span = self.value(name)?.span();
        // Read all before giving up: each may have its problems.
        let elements: Vec<Option<T>> = self.list(name)?.iter().map(read).collect();
        Some(Spanned::new(span, elements.into_iter().collect::<Option<_>>()?))
    }

    fn table(&self, name: &str, shape: &'static Shape) -> Option<Table<'t>> {
        let value = self.value(name)?;
        Some(Table::open(shape, value.span(), value.get_ref().as_table()?, self.problems))
    }
}

/// `None` if it has no digits, or wrong ones: the parser leaves them to us.
fn integer(text: &DeInteger<'_>) -> Option<i128> {
    match i128::from_str_radix(text.as_str(), text.radix()) {
        Ok(number) => Some(number),
        // Far out of every range: only its sign matters.
        Err(error) if *error.kind() == IntErrorKind::PosOverflow => Some(i128::MAX),
        Err(error) if *error.kind() == IntErrorKind::NegOverflow => Some(i128::MIN),
        Err(_) => None,
    }
}

fn fits(form: Form, value: &DeValue<'_>) -> bool {
    match form {
        Form::Text => value.is_str(),
        Form::Number => value.is_integer(),
        Form::Truth => value.is_bool(),
        // Written as `[[domain]]` or as `domain = [...]`: the same to TOML.
        Form::List | Form::Tables => value.is_array(),
        Form::Table => value.is_table(),
        Form::TextOrTable => value.is_str() || value.is_table(),
    }
}

impl Form {
    /// With its article, as a message has it.
    fn article(self) -> &'static str {
        match self {
            Self::Text => "a string",
            Self::Number => "an integer",
            Self::Truth => "a boolean",
            Self::List => "an array",
            Self::Table => "a table",
            Self::Tables => "an array of tables",
            Self::TextOrTable => "a string or a table",
        }
    }
}

fn wrong_type(what: &str, expected: &str, value: &Spanned<DeValue<'_>>, key: &Key) -> Problem {
    let found = match value.get_ref().type_str() {
        kind @ ("array" | "integer") => format!("an {kind}"),
        kind => format!("a {kind}"),
    };
    let title = format!("{what} must be {expected}, not {found}");
    Problem::new(title, value.span(), format!("this is {found}")).help(for_example(key))
}

fn for_example(key: &Key) -> String {
    match key.form {
        Form::Tables => format!("write {} with double brackets, once for each", key.example),
        Form::Table if key.example.starts_with('[') => format!("write {} with single brackets", key.example),
        _ => format!("for example: {}", key.example),
    }
}
