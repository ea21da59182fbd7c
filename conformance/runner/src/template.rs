//! Placeholders in target files: `{guest}`, `{disk}`, `{cmdline}`, `{peer_cmdline}`, `{smp}`, `{scratch}`, `{here}`, and
//! `{env:NAME}` or `{env:NAME:DEFAULT}`. Doubled braces are braces.

use std::path::Path;

/// What a second domain is told, `{peer_cmdline}`: it plays the other part of tests with two.
pub const PEER_COMMAND_LINE: &str = "part=peer";
/// What the suite is told when there is one.
pub(crate) const HAS_PEER: &str = "peer=1";

/// What the placeholders stand for.
#[derive(Clone, Copy, Debug)]
pub struct Values<'a> {
    /// `{guest}`: the suite's ELF.
    pub guest: &'a Path,
    /// `{disk}`: the disk image, if the target has one.
    pub disk: Option<&'a Path>,
    /// `{cmdline}`: what the guest is told.
    pub cmdline: &'a str,
    /// `{smp}`: how many CPUs the machine has.
    pub cpus: u32,
    /// `{scratch}`: a folder that is empty at each start, and removed after it.
    pub scratch: &'a Path,
    /// `{here}`: the folder of the target file.
    pub here: &'a Path,
}

/// Fills them in.
pub(crate) fn expand(template: &str, values: &Values<'_>) -> Result<String, String> {
    let mut text = String::with_capacity(template.len());
    let mut rest = template;
    while let Some(position) = rest.find(['{', '}']) {
        let (before, after) = rest.split_at(position);
        text.push_str(before);
        let brace = &after[..1];
        if after[1..].starts_with(brace) {
            text.push_str(brace);
            rest = &after[2..];
            continue;
        }
        let name = after.strip_prefix('{').and_then(|after| after.split_once('}'));
        let Some((name, behind)) = name else {
            return Err(format!("a lone brace in {template:?}; double it if it is meant as such"));
        };
        text.push_str(&value(name, values)?);
        rest = behind;
    }
    text.push_str(rest);
    Ok(text)
}

fn value(name: &str, values: &Values<'_>) -> Result<String, String> {
    let path = |path: &Path| Ok(path.display().to_string());
    match name {
        "guest" => path(values.guest),
        "disk" => path(values.disk.ok_or("`{disk}` needs a [disk] section that says what to make")?),
        "cmdline" => Ok(values.cmdline.to_owned()),
        "peer_cmdline" => Ok(PEER_COMMAND_LINE.to_owned()),
        "smp" => Ok(values.cpus.to_string()),
        "scratch" => path(values.scratch),
        "here" => path(values.here),
        _ => match name.strip_prefix("env:") {
            Some(variable) => environment(variable),
            None => Err(format!(
                "unknown placeholder {{{name}}}: there are guest, disk, cmdline, peer_cmdline, smp, scratch, here, env:NAME"
            )),
        },
    }
}

fn environment(variable: &str) -> Result<String, String> {
    let (variable, default) = match variable.split_once(':') {
        Some((variable, default)) => (variable, Some(default)),
        None => (variable, None),
    };
    match (std::env::var(variable), default) {
        (Ok(value), _) => Ok(value),
        (Err(_), Some(default)) => Ok(default.to_owned()),
        (Err(_), None) => Err(format!("the environment variable {variable} is not set")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(template: &str) -> Result<String, String> {
        let values = Values {
            guest: Path::new("/g"),
            disk: None,
            cmdline: "only=a after={b}",
            cpus: 2,
            scratch: Path::new("/s"),
            here: Path::new("/h"),
        };
        expand(template, &values)
    }

    #[test]
    fn placeholders_are_filled_in_once() {
        assert_eq!(filled("-k {guest} -c {cmdline},{smp}").unwrap(), "-k /g -c only=a after={b},2");
        assert_eq!(filled("-a {peer_cmdline}").unwrap(), "-a part=peer");
        assert_eq!(filled("{here}/x {scratch}").unwrap(), "/h/x /s");
        assert_eq!(filled("{{guest}} }}").unwrap(), "{guest} }");
    }

    #[test]
    fn the_environment_may_choose() {
        assert_eq!(filled("{env:PVOPS_NO_SUCH_VARIABLE:a:b}").unwrap(), "a:b");
        assert!(filled("{env:PVOPS_NO_SUCH_VARIABLE}").unwrap_err().contains("not set"));
        assert_eq!(filled("{env:PATH}").unwrap(), std::env::var("PATH").unwrap());
    }

    #[test]
    fn unknown_and_broken_ones_are_refused() {
        for template in ["{gest}", "{", "a}b", "{guest", "{disk}", "{}"] {
            assert!(filled(template).is_err(), "{template}");
        }
    }
}
