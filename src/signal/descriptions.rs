//! What is remembered of the descriptions of a call: what an answer has to fit, and what is to stay
//! the same from one to the next.

use std::hash::{DefaultHasher, Hash, Hasher};

use crate::proto::{
    leg::Leg,
    ng::SdpOptions,
    sdp::{CodecName, Description, Rewrite},
};

/// Most offers that wait for their answers: one call rings at so many places at most.
const MOST_BRANCHES: usize = 32;

/// An offer that went on and may be answered: to one place, if the call was forked.
pub(super) struct Branch {
    /// Branch of the INVITE.
    pub(super) via: Option<String>,
    /// Who offered.
    pub(super) from: Leg,
    /// Whether the other end was offered rtcp-mux.
    pub(super) mux_offered: bool,
    /// Whether the offerer may have rtcp-mux whatever the other end says.
    pub(super) mux_accepted: bool,
    /// What it was offered.
    pub(super) codecs: Vec<CodecName>,
}

/// The last offers, oldest first.
#[derive(Default)]
pub(super) struct Branches(Vec<Branch>);

impl Branches {
    /// An offer takes the place of the one before it on its branch, and of all that went the other way.
    pub(super) fn enter(&mut self, branch: Branch) {
        self.0
            .retain(|known| known.from == branch.from && known.via != branch.via);
        if self.0.len() >= MOST_BRANCHES {
            self.0.remove(0);
        }
        self.0.push(branch);
    }

    /// The offer of this leg that is answered on this branch; else the last one of this leg.
    pub(super) fn find(&self, from: Leg, via: Option<&str>) -> Option<&Branch> {
        let of_leg = || self.0.iter().filter(|branch| branch.from == from);
        of_leg()
            .find(|branch| via.is_some() && branch.via.as_deref() == via)
            .or_else(|| of_leg().next_back())
    }

    /// Gives up a branch where others are left; whether it did.
    pub(super) fn give_up(&mut self, via: &str) -> bool {
        let before = self.0.len();
        if before > 1 {
            self.0.retain(|branch| branch.via.as_deref() != Some(via));
        }
        self.0.len() < before
    }
}

/// What an end said first, where the client wants that to stay.
#[derive(Default)]
pub(super) struct Said {
    user: Option<String>,
    session_name: Option<String>,
}

/// What is to be said in place of an end's own.
pub(super) struct Stays {
    pub(super) user: Option<String>,
    pub(super) session_name: Option<String>,
}

impl Said {
    pub(super) fn first(&mut self, description: &Description, options: &SdpOptions) -> Stays {
        if options.replace_user && self.user.is_none() {
            self.user = description.origin().map(|origin| origin.user);
        }
        if options.replace_session_name && self.session_name.is_none() {
            self.session_name = description.session_name().map(str::to_owned);
        }
        Stays {
            user: self.user.clone().filter(|_| options.replace_user),
            session_name: self
                .session_name
                .clone()
                .filter(|_| options.replace_session_name),
        }
    }
}

/// The last version of our description that an end got, and what it said.
#[derive(Default)]
pub(super) struct Sent(Option<(u64, u64)>);

impl Sent {
    /// Rewrites with a version of our own, which grows by one when anything else has changed.
    pub(super) fn versioned(
        &mut self,
        description: &Description,
        mut rewrite: Rewrite,
    ) -> (String, Vec<CodecName>) {
        rewrite.version = Some(0);
        let mut hasher = DefaultHasher::new();
        // What an end changed that we keep to ourselves, its port say, is a change to it all the same.
        description.hash_without_origin(&mut hasher);
        description.rewrite(&rewrite).0.hash(&mut hasher);
        let says = hasher.finish();
        let version = match self.0 {
            Some((version, said)) if said == says => version,
            Some((version, _)) => version.wrapping_add(1),
            None => description.origin().map_or(1, |origin| origin.version),
        };
        self.0 = Some((version, says));
        rewrite.version = Some(version);
        description.rewrite(&rewrite)
    }
}
