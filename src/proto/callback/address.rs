//! Which addresses a message may be sent to: those of the public Internet, unless a site says more.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Whose an address is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// Anybody's: it is routed on the public Internet.
    Public,
    /// Of a network or a purpose of its own; the word says which.
    Special(&'static str),
    /// No single machine's, so nothing is ever sent to it.
    Nobody(&'static str),
}

/// Whose an address is, by the registries of special-purpose addresses (RFC 6890, RFC 8190). An IPv6
/// address that stands for an IPv4 address is as that one is: mapped (RFC 4291 §2.5.5.2), translated by
/// the well-known prefix (NAT64, RFC 6052) and 6to4 (RFC 3056). IPv6 that is not known to be public is
/// not. A translator's prefix of a site's own cannot be told from other public addresses.
#[must_use]
pub fn scope(address: IpAddr) -> Scope {
    match address {
        IpAddr::V4(address) => scope_of_v4(address),
        IpAddr::V6(address) => scope_of_v6(address),
    }
}

fn scope_of_v4(address: Ipv4Addr) -> Scope {
    match address.octets() {
        [0, 0, 0, 0] => Scope::Nobody("unspecified"),
        [255, 255, 255, 255] => Scope::Nobody("broadcast"),
        [224..=239, ..] => Scope::Nobody("multicast"),
        [0, ..] => Scope::Special("this network"),
        [10, ..] | [172, 16..=31, ..] | [192, 168, ..] => Scope::Special("private"),
        [100, 64..=127, ..] => Scope::Special("carrier-grade NAT"),
        [127, ..] => Scope::Special("loopback"),
        [169, 254, ..] => Scope::Special("link-local"),
        [192, 0, 0, _] => Scope::Special("protocol assignments"),
        [192, 0, 2, _] | [198, 51, 100, _] | [203, 0, 113, _] => Scope::Special("documentation"),
        [192, 88, 99, _] => Scope::Special("6to4 relays"),
        [198, 18 | 19, ..] => Scope::Special("benchmarks"),
        [240..=255, ..] => Scope::Special("reserved"),
        _ => Scope::Public,
    }
}

fn scope_of_v6(address: Ipv6Addr) -> Scope {
    let of_two = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        scope_of_v4(Ipv4Addr::new(a, b, c, d))
    };
    match address.segments() {
        [0, 0, 0, 0, 0, 0, 0, 0] => Scope::Nobody("unspecified"),
        [0, 0, 0, 0, 0, 0, 0, 1] => Scope::Special("loopback"),
        [0, 0, 0, 0, 0, 0xffff, high, low] => of_two(high, low),
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => of_two(high, low),
        [0x2002, high, low, ..] => of_two(high, low),
        [0xff00..=0xffff, ..] => Scope::Nobody("multicast"),
        [0xfc00..=0xfdff, ..] => Scope::Special("private"),
        [0xfe80..=0xfebf, ..] => Scope::Special("link-local"),
        // Among them Teredo, whose addresses hold others.
        [0x2001, 0..=0x1ff, ..] => Scope::Special("protocol assignments"),
        [0x2001, 0xdb8, ..] | [0x3fff, 0..=0xfff, ..] => Scope::Special("documentation"),
        [0x2000..=0x3fff, ..] => Scope::Public,
        _ => Scope::Special("reserved"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Scope {
        scope(text.parse().unwrap())
    }

    #[test]
    fn what_is_routed_on_the_internet_is_public() {
        for text in [
            "1.1.1.1",
            "9.255.255.255",
            "11.0.0.0",
            "100.63.255.255",
            "100.128.0.0",
            "126.255.255.255",
            "128.0.0.0",
            "169.253.255.255",
            "172.15.255.255",
            "172.32.0.0",
            "192.0.1.0",
            "192.0.3.0",
            "192.167.255.255",
            "192.169.0.0",
            "198.17.255.255",
            "198.20.0.0",
            "223.255.255.255",
            "2001:200::1",
            "2001:db7:ffff::1",
            "2606:4700::1111",
            "2a00:1450:4001:82a::200e",
            "3ffe::1",
            "::ffff:1.1.1.1",
            "64:ff9b::101:101",
            "2002:101:101::1",
        ] {
            assert_eq!(of(text), Scope::Public, "{text}");
        }
    }

    #[test]
    fn what_is_not_public_is_told_by_its_name() {
        for (name, texts) in [
            (
                "private",
                "10.0.0.0 10.255.255.255 172.16.0.1 172.31.255.255 192.168.0.1 192.168.255.255 fc00::1 fdff::1",
            ),
            ("loopback", "127.0.0.1 127.255.255.254 ::1"),
            ("link-local", "169.254.0.1 169.254.169.254 fe80::1 febf::1"),
            ("carrier-grade NAT", "100.64.0.0 100.127.255.255"),
            (
                "documentation",
                "192.0.2.1 198.51.100.1 203.0.113.255 2001:db8::1 3fff:fff::1",
            ),
            ("benchmarks", "198.18.0.1 198.19.255.255"),
            ("this network", "0.0.0.1 0.255.255.255"),
            ("reserved", "240.0.0.1 255.255.255.254 ::2 ::127.0.0.1"),
            (
                "reserved",
                "64:ff9b:1::1 100::1 1fff::1 4000::1 5f00::1 fec0::1 ::ffff:0:10.0.0.1",
            ),
            (
                "protocol assignments",
                "192.0.0.8 2001::1 2001:2::1 2001:1ff::1",
            ),
            ("6to4 relays", "192.88.99.1"),
        ] {
            for text in texts.split(' ') {
                assert_eq!(of(text), Scope::Special(name), "{text}");
            }
        }
        for (name, texts) in [
            ("unspecified", "0.0.0.0 :: ::ffff:0.0.0.0"),
            ("broadcast", "255.255.255.255"),
            ("multicast", "224.0.0.1 239.255.255.255 ff02::1"),
        ] {
            for text in texts.split(' ') {
                assert_eq!(of(text), Scope::Nobody(name), "{text}");
            }
        }
    }

    #[test]
    fn an_ipv6_address_is_as_private_as_the_ipv4_address_in_it() {
        for (text, name) in [
            ("::ffff:127.0.0.1", "loopback"),
            ("::ffff:169.254.169.254", "link-local"),
            ("::ffff:100.64.1.1", "carrier-grade NAT"),
            ("64:ff9b::10.0.0.1", "private"),
            ("64:ff9b::7f00:1", "loopback"),
            ("2002:c0a8:1::1", "private"),
            ("2002:7f00:1::1", "loopback"),
        ] {
            assert_eq!(of(text), Scope::Special(name), "{text}");
        }
    }
}
