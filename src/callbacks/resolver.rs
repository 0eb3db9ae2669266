//! Names to addresses, of which only those are left that may be connected to: what connects gets nothing
//! else, so what a name leads to later is never asked.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    pin::Pin,
    sync::Arc,
};

use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use super::Refused;
use crate::proto::callback::{Scope, scope};

/// How names are looked up.
pub(super) type LookUp = Arc<
    dyn Fn(String) -> Pin<Box<dyn Future<Output = io::Result<Vec<IpAddr>>> + Send>> + Send + Sync,
>;

/// Whether an address may be connected to.
pub(super) fn admit(address: IpAddr, allow_private: bool) -> Result<(), Refused> {
    match scope(address) {
        Scope::Public => Ok(()),
        Scope::Special(_) if allow_private => Ok(()),
        Scope::Special(kind) | Scope::Nobody(kind) => Err(Refused { address, kind }),
    }
}

/// Looks names up as the system does (`/etc/hosts`, DNS).
pub(super) fn of_the_system() -> LookUp {
    Arc::new(|name| {
        Box::pin(async move {
            let found = tokio::net::lookup_host((name, 0)).await?;
            Ok(found.map(|address| address.ip()).collect())
        })
    })
}

pub(super) struct Guarded {
    pub(super) look_up: LookUp,
    pub(super) allow_private: bool,
}

impl Resolve for Guarded {
    fn resolve(&self, name: Name) -> Resolving {
        let found = (self.look_up)(name.as_str().to_owned());
        let allow_private = self.allow_private;
        Box::pin(async move {
            let mut refused = None;
            let mut admitted = Vec::new();
            for address in found.await? {
                match admit(address, allow_private) {
                    Ok(()) => admitted.push(SocketAddr::new(address, 0)),
                    Err(found) => refused = Some(found),
                }
            }
            match refused {
                Some(refused) if admitted.is_empty() => Err(refused.into()),
                _ => Ok(Box::new(admitted.into_iter()) as Addrs),
            }
        })
    }
}
