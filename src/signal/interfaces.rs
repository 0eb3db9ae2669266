//! Our own addresses that media can come by: networks that a call joins, and both address families.

use std::net::IpAddr;

use crate::media::ports::PortPool;

/// One address of ours.
#[derive(Clone)]
pub struct Interface {
    /// The network it stands in, as `direction` names it. Two may share it, one a family.
    pub name: String,
    /// The ports of the address.
    pub ports: PortPool,
    /// The address as the ends reach it: it goes into SDP.
    pub advertise: IpAddr,
}

/// All of them; the first is for whoever names none.
#[derive(Clone)]
pub struct Interfaces(Vec<Interface>);

/// There is no such address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "No media address of the family {family} in the network {network:?}; configure one ([[media.interfaces]])"
)]
pub struct NoInterface {
    family: &'static str,
    network: String,
}

impl Interfaces {
    /// The first, and the others.
    #[must_use]
    pub fn new(first: Interface, others: Vec<Interface>) -> Self {
        let mut all = vec![first];
        all.extend(others);
        Self(all)
    }

    /// The first of this name and family; by the first's name where none has the one that is asked for,
    /// as clients name networks that only other relays of theirs have.
    pub(super) fn choose(
        &self,
        name: Option<&str>,
        family: Option<Family>,
    ) -> Result<&Interface, NoInterface> {
        let known = |wanted: &&str| self.0.iter().any(|one| one.name == *wanted);
        let network = name
            .filter(known)
            .unwrap_or_else(|| self.0.first().map_or("", |first| first.name.as_str()));
        let fits = |one: &&Interface| {
            one.name == network && family.is_none_or(|family| family.has(one.advertise))
        };
        self.0.iter().find(fits).ok_or_else(|| NoInterface {
            family: family.map_or("any", Family::as_str),
            network: network.to_owned(),
        })
    }
}

/// An address family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Family {
    V4,
    V6,
}

impl Family {
    pub(super) const fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(_) => Self::V4,
            IpAddr::V6(_) => Self::V6,
        }
    }

    fn has(self, address: IpAddr) -> bool {
        Self::of(address) == self
    }

    const fn as_str(self) -> &'static str {
        match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::media::ports::SocketOptions;

    fn interface(name: &str, address: &str) -> Interface {
        let advertise: IpAddr = address.parse().unwrap();
        let options = SocketOptions::default();
        let ports = PortPool::new(advertise, 30_000..=30_003, Duration::ZERO, options).unwrap();
        Interface {
            name: name.to_owned(),
            ports,
            advertise,
        }
    }

    #[test]
    fn an_address_is_chosen_by_network_and_family_and_the_first_for_who_names_none() {
        let all = Interfaces::new(
            interface("outside", "192.0.2.1"),
            vec![
                interface("outside", "2001:db8::1"),
                interface("inside", "10.0.0.1"),
            ],
        );
        let chosen = |name, family| {
            all.choose(name, family)
                .map(|one| one.advertise.to_string())
        };
        for (name, family, address) in [
            (None, None, "192.0.2.1"),
            (None, Some(Family::V6), "2001:db8::1"),
            (Some("inside"), None, "10.0.0.1"),
            (Some("inside"), Some(Family::V4), "10.0.0.1"),
            (Some("elsewhere"), None, "192.0.2.1"),
        ] {
            assert_eq!(chosen(name, family).unwrap(), address);
        }
        let none = all.choose(Some("inside"), Some(Family::V6)).err().unwrap();
        assert!(none.to_string().contains("IPv6") && none.to_string().contains("inside"));
    }
}
