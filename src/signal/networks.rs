//! From where control is taken.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    str::FromStr,
};

/// Why a text is no network.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("found {found:?}; expected an address such as 192.0.2.1 or a network such as 192.0.2.0/24")]
pub struct NetworkError {
    /// What was found.
    pub found: String,
}

/// Addresses that may send control messages, which carry no authentication of their own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Networks(Vec<(IpAddr, u8)>);

impl Networks {
    /// This machine only.
    #[must_use]
    pub fn loopback() -> Self {
        Self(vec![
            (IpAddr::V4(Ipv4Addr::new(127, 0, 0, 0)), 8),
            (IpAddr::V6(Ipv6Addr::LOCALHOST), 128),
        ])
    }

    /// Exactly these addresses (`192.0.2.1`) and networks (`192.0.2.0/24`).
    pub fn parse<'a>(networks: impl IntoIterator<Item = &'a str>) -> Result<Self, NetworkError> {
        let parsed: Result<Vec<_>, _> = networks.into_iter().map(network).collect();
        parsed.map(Self)
    }

    /// Whether the address is in one of them.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0
            .iter()
            .any(|(network, bits)| same_prefix(*network, address, *bits))
    }

    /// Whether an address is in one of these and in one of those.
    #[must_use]
    pub fn overlaps(&self, other: &Self) -> bool {
        self.0.iter().any(|(address, bits)| {
            let mut others = other.0.iter();
            others.any(|(theirs, fewer)| same_prefix(*address, *theirs, *bits.min(fewer)))
        })
    }
}

fn network(text: &str) -> Result<(IpAddr, u8), NetworkError> {
    let error = || NetworkError {
        found: text.chars().take(80).collect(),
    };
    let (address, bits) = match text.split_once('/') {
        Some((address, bits)) => (address, Some(u8::from_str(bits).map_err(|_| error())?)),
        None => (text, None),
    };
    let address: IpAddr = address.parse().map_err(|_| error())?;
    let longest = if address.is_ipv4() { 32 } else { 128 };
    let bits = bits.unwrap_or(longest);
    if bits > longest {
        return Err(error());
    }
    Ok((address, bits))
}

fn same_prefix(network: IpAddr, address: IpAddr, bits: u8) -> bool {
    let differing = match (network, address) {
        (IpAddr::V4(a), IpAddr::V4(b)) => (a.to_bits() ^ b.to_bits()).leading_zeros(),
        (IpAddr::V6(a), IpAddr::V6(b)) => (a.to_bits() ^ b.to_bits()).leading_zeros(),
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => return false,
    };
    differing >= u32::from(bits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_this_machine_and_nothing_else() {
        let networks = Networks::loopback();
        for inside in ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"] {
            assert!(networks.contains(inside.parse().unwrap()), "{inside}");
        }
        for outside in ["192.0.2.1", "128.0.0.1", "::2", "0.0.0.0"] {
            assert!(!networks.contains(outside.parse().unwrap()), "{outside}");
        }
    }

    #[test]
    fn a_network_contains_its_addresses() {
        let networks =
            Networks::parse(["192.0.2.128/25", "2001:db8::/32", "198.51.100.7"]).unwrap();
        for (address, inside) in [
            ("192.0.2.200", true),
            ("192.0.2.100", false),
            ("2001:db8:1::1", true),
            ("2001:db9::1", false),
            ("198.51.100.7", true),
            ("198.51.100.8", false),
        ] {
            assert_eq!(
                networks.contains(address.parse().unwrap()),
                inside,
                "{address}"
            );
        }
        assert!(
            Networks::parse(["0.0.0.0/0"])
                .unwrap()
                .contains("8.8.8.8".parse().unwrap())
        );
    }

    #[test]
    fn networks_overlap_where_one_holds_an_address_of_the_other() {
        let of = |text: &str| Networks::parse(text.split(' ')).unwrap();
        let ours = of("192.0.2.0/25 2001:db8::/64");
        for (theirs, expected) in [
            ("192.0.2.9", true),
            ("192.0.0.0/16", true),
            ("198.51.100.1 2001:db8::/32", true),
            ("192.0.2.128/25", false),
            ("::/128", false),
        ] {
            assert_eq!(ours.overlaps(&of(theirs)), expected, "{theirs}");
            assert_eq!(of(theirs).overlaps(&ours), expected, "{theirs}");
        }
    }

    #[test]
    fn what_is_no_network_is_refused_with_its_text() {
        for bad in [
            "",
            "host",
            "192.0.2.0/33",
            "::/129",
            "192.0.2.0/x",
            "192.0.2",
        ] {
            assert_eq!(Networks::parse([bad]).unwrap_err().found, bad);
        }
    }
}
