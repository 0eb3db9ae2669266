//! `[operations]`: who may settle, void and refund what was charged.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use crate::{
    http::OperationRules,
    proto::{currency::currency_exponent, payment::OperationKind},
};

/// `[operations]`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Operations {
    /// What agents may do; supervisors and integrations may do all of it.
    pub agents: BTreeSet<OperationKind>,
    /// The most that one refund may be.
    pub refund_limits: RefundLimits,
}

/// `[operations.refund_limits]`: minor units by currency. No bound for whom there is none; no refund in a
/// currency that one does not name.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RefundLimits {
    /// Of an agent.
    pub agents: Option<BTreeMap<String, u64>>,
    /// Of a supervisor.
    pub supervisors: Option<BTreeMap<String, u64>>,
    /// Of an integration.
    pub integrations: Option<BTreeMap<String, u64>>,
}

impl Operations {
    /// # Errors
    /// Which key, what was found and what was expected.
    pub(super) fn check(&self) -> Result<(), (&'static str, String)> {
        let limits = &self.refund_limits;
        for (key, table) in [
            ("operations.refund_limits.agents", &limits.agents),
            ("operations.refund_limits.supervisors", &limits.supervisors),
            (
                "operations.refund_limits.integrations",
                &limits.integrations,
            ),
        ] {
            let mut currencies = table.iter().flat_map(BTreeMap::keys);
            if let Some(found) = currencies.find(|code| currency_exponent(code).is_none()) {
                return Err((
                    key,
                    format!(
                        "found the currency {found:?}; expected ISO 4217 codes of three capital letters, such as EUR"
                    ),
                ));
            }
        }
        if limits.agents.is_some() && !self.agents.contains(&OperationKind::Refund) {
            return Err((
                "operations.refund_limits.agents",
                "found limits of refunds, but agents may not refund; add \"refund\" to operations.agents, or remove them"
                    .to_owned(),
            ));
        }
        Ok(())
    }

    /// As the API goes by it.
    #[must_use]
    pub fn rules(&self) -> OperationRules {
        OperationRules {
            agents: self.agents.clone(),
            agent_refunds: self.refund_limits.agents.clone(),
            supervisor_refunds: self.refund_limits.supervisors.clone(),
            integration_refunds: self.refund_limits.integrations.clone(),
        }
    }
}
