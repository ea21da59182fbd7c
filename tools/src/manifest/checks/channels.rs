//! Channels between two domains: that both exist, that they are two, that there are not too many.

use system_image::layout;
use toml::Spanned;

use super::{check_duplicates, check_name};
use crate::manifest::ManifestChannel;
use crate::manifest::report::Problem;
use crate::manifest::schema::{Channel, Document};
use crate::manifest::suggest;

/// Checks all channels. Those with problems are left out.
pub(super) fn check(document: &Document, problems: &mut Vec<Problem>) -> Vec<ManifestChannel> {
    let names = || document.channels.iter().filter_map(|channel| channel.name.as_ref());
    names().for_each(|name| check_name("the channel's name", name, problems));
    check_duplicates("channels", names(), problems);
    let channels: Vec<_> =
        document.channels.iter().filter_map(|channel| check_one(channel, document, problems)).collect();
    check_counts(document, problems);
    channels
}

fn check_one(channel: &Channel, document: &Document, problems: &mut Vec<Problem>) -> Option<ManifestChannel> {
    let [one, other] = &channel.between.get_ref()[..] else {
        let title = format!("a channel is between two domains, not {}", channel.between.get_ref().len());
        let problem = Problem::new(title, channel.between.span(), "this `between`");
        problems.push(problem.help("for example: between = [\"gp\", \"rt\"]"));
        return None;
    };
    if one.get_ref() == other.get_ref() {
        let title = "a channel between a domain and itself";
        let problem = Problem::new(title, other.span(), "the same domain again");
        problems.push(problem.and(one.span(), "first named here"));
        return None;
    }
    let (one, other) = (place(one, document, problems), place(other, document, problems));
    let name = channel.name.as_ref().map(|name| name.get_ref().clone());
    Some(ManifestChannel { name, between: [one?, other?] })
}

/// The place in the file of the domain called `name`.
fn place(name: &Spanned<String>, document: &Document, problems: &mut Vec<Problem>) -> Option<u16> {
    let names = || document.domains.iter().map(|domain| domain.name.get_ref().as_str());
    let place = names().position(|known| known == name.get_ref());
    // A domain that could not be read might be it.
    if place.is_none() && document.has_all_domains {
        let label = match suggest::closest(name.get_ref(), names()) {
            Some(likely) => format!("did you mean \"{likely}\"?"),
            None => "no domain of this name".into(),
        };
        let problem =
            Problem::new(format!("there is no domain called `{}`", name.get_ref()), name.span(), label);
        let known: Vec<String> = names().map(|name| format!("`{name}`")).collect();
        problems.push(problem.help(format!("this file has the domains {}", known.join(", "))));
    }
    u16::try_from(place?).ok()
}

/// Reports the first channel of each domain that is too many.
fn check_counts(document: &Document, problems: &mut Vec<Problem>) {
    for domain in &document.domains {
        let name = domain.name.get_ref();
        let ends = document.channels.iter().flat_map(|channel| channel.between.get_ref());
        if let Some(extra) = ends.filter(|end| end.get_ref() == name).nth(layout::MAX_CHANNELS) {
            let title = format!("more than {} channels of domain `{name}`", layout::MAX_CHANNELS);
            problems.push(Problem::new(title, extra.span(), "one channel too many"));
        }
    }
}
