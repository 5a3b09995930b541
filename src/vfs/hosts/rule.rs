//! What `allow` and `deny` may say: an address, a network, a host, a pattern of names, a netgroup.

use std::{fmt, net::IpAddr, str::FromStr, sync::Arc};

/// Hosts, as a share's lists name them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Host {
    /// All (`*`).
    Any,
    /// By address.
    Network(Network),
    /// By name: those whose address the name leads to. In small letters.
    Name(Arc<str>),
    /// By a pattern of names, as exports(5) has them: `*`, `?` and `[abc]`, of which `*` and `?`
    /// stand for dots too.
    Pattern(Box<str>),
    /// The members of a netgroup.
    Netgroup(Box<str>),
}

impl Host {
    /// Nobody has to be asked.
    pub(crate) fn is_known(&self) -> bool {
        matches!(self, Self::Any | Self::Network(_))
    }

    /// Whether an address is meant, when nobody has to be asked.
    pub(crate) fn has_address(&self, address: IpAddr) -> bool {
        match self {
            Self::Any => true,
            Self::Network(network) => network.contains(address),
            Self::Name(_) | Self::Pattern(_) | Self::Netgroup(_) => false,
        }
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => write!(f, "*"),
            Self::Network(network) => write!(f, "{network}"),
            Self::Name(name) => write!(f, "{name}"),
            Self::Pattern(pattern) => write!(f, "{pattern}"),
            Self::Netgroup(name) => write!(f, "@{name}"),
        }
    }
}

impl FromStr for Host {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            "expected an address, a network such as 192.168.1.0/24, a host name, a pattern such \
             as *.lab, or @netgroup"
                .to_owned()
        };
        if text == "*" {
            return Ok(Self::Any);
        }
        if let Some(group) = text.strip_prefix('@') {
            let is_name = !group.is_empty() && !group.contains(['(', ')', ',', ' ', '#', '\\']);
            return if is_name { Ok(Self::Netgroup(group.into())) } else { Err(wrong()) };
        }
        if let Ok(network) = text.parse() {
            return Ok(Self::Network(network));
        }
        // What only digits and dots are in was meant to be an address.
        let is_name = text.contains(|c: char| c.is_ascii_alphabetic() || "*?[".contains(c))
            && text.len() <= 253;
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        let lower = text.to_ascii_lowercase();
        match () {
            () if is_name && text.chars().all(plain) => Ok(Self::Name(lower.into())),
            () if is_name && text.chars().all(|c| plain(c) || "*?[]".contains(c)) => {
                // A bracket that is not closed, or closes nothing.
                let opened =
                    text.split('[').skip(1).all(|set| set.find(']').is_some_and(|n| n > 0));
                let closed = text.split(']').count() == text.split('[').count();
                if opened && closed { Ok(Self::Pattern(lower.into())) } else { Err(wrong()) }
            }
            () => Err(wrong()),
        }
    }
}

/// Whether a pattern means a name, both in small letters.
pub(crate) fn matches(pattern: &[u8], name: &[u8]) -> bool {
    let (mut pattern, mut name) = (pattern, name);
    // Where the last `*` may take one byte more.
    let mut again: Option<(&[u8], &[u8])> = None;
    loop {
        let step = match pattern.split_first() {
            None if name.is_empty() => return true,
            None => None,
            Some((b'*', rest)) => {
                again = Some((rest, name));
                Some((rest, name))
            }
            Some((first, rest)) => name.split_first().and_then(|(byte, after)| match first {
                b'?' => Some((rest, after)),
                b'[' => {
                    let end = rest.iter().position(|&byte| byte == b']')?;
                    rest[..end].contains(byte).then_some((&rest[end + 1..], after))
                }
                first => (first == byte).then_some((rest, after)),
            }),
        };
        (pattern, name) = match (step, again) {
            (Some(step), _) => step,
            (None, Some((rest, from))) if !from.is_empty() => {
                again = Some((rest, &from[1..]));
                (rest, &from[1..])
            }
            (None, _) => return false,
        };
    }
}

/// An address and how many of its leading bits count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    /// The address.
    pub address: IpAddr,
    /// Leading bits.
    pub prefix_bits: u8,
}

impl Network {
    /// Whether an address is in it. IPv4 addresses in IPv6 clothes count as what they are.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        // A shift by all bits leaves no difference: prefix 0 is everybody.
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(net), IpAddr::V4(address)) => {
                let shift = 32u32.saturating_sub(u32::from(self.prefix_bits));
                let differs = net.to_bits() ^ address.to_bits();
                differs.checked_shr(shift).unwrap_or(0) == 0
            }
            (IpAddr::V6(net), IpAddr::V6(address)) => {
                let shift = 128u32.saturating_sub(u32::from(self.prefix_bits));
                let differs = net.to_bits() ^ address.to_bits();
                differs.checked_shr(shift).unwrap_or(0) == 0
            }
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
        }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix_bits)
    }
}

impl FromStr for Network {
    type Err = String;

    /// `10.0.0.0/8`, `10.0.0.0/255.0.0.0`, `fd00::/8`, or a single address.
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is no network, write one like 10.0.0.0/8 or fd00::/8");
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        let width = if address.is_ipv4() { 32 } else { 128 };
        let prefix_bits = match (bits.map(str::parse::<u8>), bits.map(str::parse)) {
            (None, _) => width,
            (Some(Ok(bits)), _) => bits,
            (_, Some(Ok(IpAddr::V4(mask)))) if address.is_ipv4() => {
                let ones = mask.to_bits().leading_ones();
                let is_prefix = ones == mask.to_bits().count_ones();
                is_prefix.then(|| u8::try_from(ones).ok()).flatten().ok_or_else(wrong)?
            }
            (_, _) => return Err(wrong()),
        };
        if prefix_bits > width { Err(wrong()) } else { Ok(Self { address, prefix_bits }) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn network(text: &str) -> Network {
        text.parse().unwrap()
    }

    #[test]
    fn networks_by_prefix() {
        let contains = |net: &str, address: &str| network(net).contains(address.parse().unwrap());
        assert!(contains("10.1.0.0/16", "10.1.255.255"));
        assert!(!contains("10.1.0.0/16", "10.2.0.0"));
        assert!(contains("10.1.2.3", "10.1.2.3") && !contains("10.1.2.3", "10.1.2.2"));
        assert!(contains("0.0.0.0/0", "255.255.255.255") && !contains("0.0.0.0/0", "::1"));
        assert!(contains("fd00::/8", "fdff::1") && !contains("fd00::/8", "fe00::1"));
        assert!(contains("::/0", "::1"));
        assert!(contains("10.0.0.0/8", "::ffff:10.9.9.9"));
    }

    #[test]
    fn networks_in_words() {
        assert_eq!(network("10.0.0.0/8").to_string(), "10.0.0.0/8");
        assert_eq!(network("::1").to_string(), "::1/128");
        assert_eq!(network("10.1.0.0/255.255.0.0").to_string(), "10.1.0.0/16");
        for text in [
            "",
            "10.0.0.0/33",
            "::/129",
            "10.0.0/8",
            "10.0.0.0/",
            "host",
            "10.0.0.0/255.0.255.0",
            "::/255.0.0.0",
        ] {
            assert!(text.parse::<Network>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn hosts_in_words() {
        for (text, want) in [
            ("*", Host::Any),
            ("10.0.0.0/8", Host::Network(network("10.0.0.0/8"))),
            ("Alpha.Lab", Host::Name("alpha.lab".into())),
            ("host_1", Host::Name("host_1".into())),
            ("*.lab", Host::Pattern("*.lab".into())),
            ("node[12]?.lab", Host::Pattern("node[12]?.lab".into())),
            ("@Lab", Host::Netgroup("Lab".into())),
        ] {
            assert_eq!(text.parse(), Ok(want.clone()), "{text}");
            assert_eq!(want.to_string().parse(), Ok(want), "{text}");
        }
        for text in [
            "",
            "@",
            "@(a)",
            "10.0.0",
            "10.0.0.300",
            "10.0.0.0/33",
            "a b",
            "a,b",
            "a[",
            "a]",
            "[]x",
        ] {
            assert!(text.parse::<Host>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn patterns() {
        let check = |pattern: &str, name: &str| matches(pattern.as_bytes(), name.as_bytes());
        for (pattern, name) in [
            ("*.lab", "a.lab"),
            ("*.lab", "a.b.lab"),
            ("*", "a"),
            ("a*c*e", "abcde"),
            ("a*c*e", "acceptance-cede"),
            ("node[12]?", "node2x"),
            ("**", ""),
            ("a*", "a"),
        ] {
            assert!(check(pattern, name), "{pattern} {name}");
        }
        for (pattern, name) in [
            ("*.lab", "lab"),
            ("*.lab", "a.lab.evil"),
            ("node[12]", "node3"),
            ("node[12]", "node"),
            ("a*c*e", "abcd"),
            ("?", ""),
            ("", "a"),
        ] {
            assert!(!check(pattern, name), "{pattern} {name}");
        }
    }
}
