//! Netgroups: named sets of hosts, in the file that NIS left behind (`netgroup(5)`).
//!
//! A line is a name and members: `(host,user,domain)` or the name of another group. An empty host
//! means every host, `-` none; users and domains say nothing about hosts. `\` at the end of a line
//! goes on with the next, `#` begins a comment.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

/// A member, as far as hosts go.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Member {
    Every,
    Host(Box<str>),
    Group(Box<str>),
}

/// All groups of a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Netgroups(BTreeMap<Box<str>, Vec<Member>>);

impl Netgroups {
    /// Reads a file.
    ///
    /// # Errors
    /// The line and what is wrong with it.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let mut groups: BTreeMap<Box<str>, Vec<Member>> = BTreeMap::new();
        let mut lines = text.lines().enumerate();
        while let Some((index, first)) = lines.next() {
            let mut line = without_comment(first).to_owned();
            while line.ends_with('\\') {
                line.pop();
                line.push(' ');
                line.push_str(lines.next().map_or("", |(_, next)| without_comment(next)));
            }
            let wrong = |what: &str| format!("line {}: {what}", index + 1);
            let line = line.trim();
            if line.is_empty() {
                continue;
            }
            let (name, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
            if name.contains(['(', ')', ',']) {
                return Err(wrong("expected the name of a group first"));
            }
            let members = members(rest).ok_or_else(|| {
                wrong("expected members such as (host,user,domain) or the names of groups")
            })?;
            groups.entry(name.into()).or_default().extend(members);
        }
        Ok(Self(groups))
    }

    /// There is such a group.
    pub(crate) fn contains(&self, group: &str) -> bool {
        self.0.contains_key(group)
    }

    /// Whether a host is in a group or in one that it contains, by its address or its name in small
    /// letters. Groups that contain each other end nothing.
    pub(crate) fn has(&self, group: &str, address: IpAddr, name: Option<&str>) -> bool {
        let (mut seen, mut left) = (BTreeSet::new(), vec![group]);
        while let Some(group) = left.pop() {
            if !seen.insert(group) {
                continue;
            }
            for member in self.0.get(group).into_iter().flatten() {
                match member {
                    Member::Every => return true,
                    Member::Host(host) if Some(&**host) == name => return true,
                    Member::Host(host) if host.parse() == Ok(address) => return true,
                    Member::Host(_) => {}
                    Member::Group(group) => left.push(group),
                }
            }
        }
        false
    }
}

fn without_comment(line: &str) -> &str {
    line.split('#').next().unwrap_or_default().trim_end()
}

/// The members of one line.
fn members(mut rest: &str) -> Option<Vec<Member>> {
    let mut members = Vec::new();
    loop {
        rest = rest.trim_start();
        if rest.is_empty() {
            return Some(members);
        }
        if let Some(inside) = rest.strip_prefix('(') {
            let (triple, after) = inside.split_once(')')?;
            rest = after;
            let mut fields = triple.split(',');
            let host = fields.next()?.trim();
            if fields.count() != 2 || host.contains(['(', ' ', '\t']) {
                return None;
            }
            match host {
                "" => members.push(Member::Every),
                "-" => {}
                host => members.push(Member::Host(host.to_ascii_lowercase().into())),
            }
        } else {
            let end = rest.find(|c: char| c.is_whitespace() || c == '(').unwrap_or(rest.len());
            let (group, after) = rest.split_at(end);
            rest = after;
            if group.contains([')', ',']) {
                return None;
            }
            members.push(Member::Group(group.into()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "\
# Machines.
lab (Alpha.lab,-,) (beta.lab,,) \\
    ( 10.0.0.7 , , )  # by its address
office (gamma.office,,)
all lab office
everyone (,,)
nobody (-,-,-)
circle circle other
other circle (delta,,)
";

    #[test]
    fn who_is_in_what() {
        let groups = Netgroups::parse(FILE).unwrap();
        let has = |group: &str, address: &str, name: Option<&str>| {
            groups.has(group, address.parse().unwrap(), name)
        };
        let far = "10.9.9.9";
        assert!(has("lab", far, Some("alpha.lab")) && has("lab", far, Some("beta.lab")));
        assert!(has("lab", "10.0.0.7", None) && !has("lab", far, None));
        assert!(!has("lab", far, Some("gamma.office")) && has("all", far, Some("gamma.office")));
        assert!(has("all", "10.0.0.7", None));
        assert!(has("everyone", far, None) && !has("nobody", far, Some("-")));
        assert!(has("circle", far, Some("delta")) && !has("circle", far, Some("alpha.lab")));
        assert!(!has("missing", far, Some("alpha.lab")));
        assert!(groups.contains("nobody") && !groups.contains("missing"));
    }

    #[test]
    fn what_is_wrong_is_named() {
        for text in ["a (b,c)", "a (b,c,d", "a b)", "a (b c,d,e)", "a ((b,c,d)", "a (b,c,d,e)"] {
            let wrong = Netgroups::parse(&format!("# x\n\n{text}\n")).unwrap_err();
            assert!(wrong.starts_with("line 3: expected members"), "{text}: {wrong}");
        }
        let wrong = Netgroups::parse("(a,b,c)").unwrap_err();
        assert!(wrong.starts_with("line 1: expected the name"), "{wrong}");
        assert_eq!(Netgroups::parse("").unwrap(), Netgroups::default());
    }

    #[test]
    fn any_text_is_read_or_refused() {
        let mut rng = reactor::rng::Rng::from_seed(1);
        let alphabet = b"ab(),-#\\ \n";
        for _ in 0..10_000 {
            let len = rng.below(30);
            let pick = |_| {
                let index = usize::try_from(rng.below(alphabet.len() as u64)).unwrap();
                char::from(alphabet[index])
            };
            let text: String = (0..len).map(pick).collect();
            if let Ok(groups) = Netgroups::parse(&text) {
                groups.has("a", [10, 0, 0, 1].into(), Some("b"));
            }
        }
    }
}
