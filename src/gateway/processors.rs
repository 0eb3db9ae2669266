//! From `[processor]` to an adapter.

use std::sync::Arc;

use anyhow::Context;

use crate::{
    config::{Processor, ProcessorKind},
    processor::{
        Adyen, AdyenNotifications, AdyenSettings, AuthorizeNet, AuthorizeNetSettings, Braintree,
        BraintreeSettings, Checkout, CheckoutNotifications, CheckoutSettings, CyberSource,
        CyberSourceSettings, PayConnector, PayConnectorSettings, ReadNotifications, Secret, Stripe,
        StripeNotifications, StripeSettings, Worldpay, WorldpaySettings,
    },
};

/// An adapter for a processor that is not the sandbox.
pub(super) enum Real {
    Stripe(Stripe),
    Adyen(Adyen),
    Checkout(Box<Checkout>),
    Worldpay(Box<Worldpay>),
    CyberSource(Box<CyberSource>),
    Braintree(Box<Braintree>),
    AuthorizeNet(Box<AuthorizeNet>),
    PayConnector(Box<PayConnector>),
}

/// Whether the files that the section names can be used: keys, authorities, certificates.
///
/// # Errors
/// A sentence that names the key, the file and what is wrong with it.
pub fn check_processor(section: &Processor) -> anyhow::Result<()> {
    configured(section)?;
    notifications(section).map(|_| ())
}

/// Who reads the processor's own notifications, under which name; nothing where none are expected.
pub(super) fn notifications(
    section: &Processor,
) -> anyhow::Result<Option<(&'static str, Arc<dyn ReadNotifications>)>> {
    const KEY: &str = "processor.notifications.key_files";
    let Some(expected) = &section.notifications else {
        return Ok(None);
    };
    let keys: Result<Vec<_>, _> = expected.key_files.iter().map(|f| Secret::read(f)).collect();
    let keys = keys.map_err(|problem| anyhow::anyhow!("{KEY}: {problem}"))?;
    let mode = section.mode.context("processor.mode: found none")?;
    let reader: Arc<dyn ReadNotifications> = match section.kind {
        ProcessorKind::Stripe => Arc::new(StripeNotifications::new(&keys, mode).context(KEY)?),
        ProcessorKind::Adyen => {
            let account = section.merchant_account.clone();
            let account = account.context("processor.merchant_account: found none")?;
            Arc::new(AdyenNotifications::new(&keys, account, mode).context(KEY)?)
        }
        ProcessorKind::CheckoutCom => Arc::new(CheckoutNotifications::new(&keys).context(KEY)?),
        ProcessorKind::Sandbox
        | ProcessorKind::Worldpay
        | ProcessorKind::CyberSource
        | ProcessorKind::Braintree
        | ProcessorKind::AuthorizeNet
        | ProcessorKind::PayConnector => return Ok(None),
    };
    Ok(Some((section.kind.as_str(), reader)))
}

/// The adapter, nothing for the sandbox.
pub(super) fn configured(section: &Processor) -> anyhow::Result<Option<Real>> {
    if section.kind == ProcessorKind::Sandbox {
        return Ok(None);
    }
    let connection = section.connection();
    let connection = connection.map_err(|(key, problem)| anyhow::anyhow!("{key}: {problem}"))?;
    let file = section.key_file.as_deref();
    let key = Secret::read(file.context("processor.key_file: found none")?)
        .map_err(|problem| anyhow::anyhow!("processor.key_file: {problem}"))?;
    let what = format!("[processor] {}", section.kind);
    Ok(match section.kind {
        ProcessorKind::Sandbox => None,
        ProcessorKind::Stripe => {
            let adapter = Stripe::new(StripeSettings {
                connection,
                key,
                descriptor: section.descriptor.clone(),
            });
            Some(Real::Stripe(adapter.context(what)?))
        }
        ProcessorKind::Adyen => {
            let account = section.merchant_account.clone();
            let adapter = Adyen::new(AdyenSettings {
                connection,
                key,
                merchant_account: account.context("processor.merchant_account: found none")?,
            });
            Some(Real::Adyen(adapter.context(what)?))
        }
        ProcessorKind::CheckoutCom => {
            let (public_key, channel) = (
                section.public_key.clone(),
                section.processing_channel.clone(),
            );
            let adapter = Checkout::new(CheckoutSettings {
                connection,
                key,
                public_key: public_key.context("processor.public_key: found none")?,
                processing_channel: channel.context("processor.processing_channel: found none")?,
            });
            Some(Real::Checkout(Box::new(adapter.context(what)?)))
        }
        ProcessorKind::Worldpay => {
            let (username, entity) = (section.username.clone(), section.entity.clone());
            let narrative = section.descriptor.clone();
            let adapter = Worldpay::new(WorldpaySettings {
                connection,
                username: username.context("processor.username: found none")?,
                key,
                entity: entity.context("processor.entity: found none")?,
                narrative: narrative.context("processor.descriptor: found none")?,
            });
            Some(Real::Worldpay(Box::new(adapter.context(what)?)))
        }
        ProcessorKind::CyberSource => {
            let (key_id, merchant) = (section.key_id.clone(), section.merchant_id.clone());
            let adapter = CyberSource::new(CyberSourceSettings {
                connection,
                key,
                key_id: key_id.context("processor.key_id: found none")?,
                merchant_id: merchant.context("processor.merchant_id: found none")?,
                descriptor: section.descriptor.clone(),
            });
            Some(Real::CyberSource(Box::new(adapter.context(what)?)))
        }
        ProcessorKind::Braintree => {
            let public_key = section.public_key.clone();
            let adapter = Braintree::new(BraintreeSettings {
                connection,
                public_key: public_key.context("processor.public_key: found none")?,
                key,
                merchant_accounts: section.merchant_accounts.clone(),
            });
            Some(Real::Braintree(Box::new(adapter.context(what)?)))
        }
        ProcessorKind::AuthorizeNet => {
            let login = section.api_login_id.clone();
            let adapter = AuthorizeNet::new(AuthorizeNetSettings {
                connection,
                api_login_id: login.context("processor.api_login_id: found none")?,
                key,
            });
            Some(Real::AuthorizeNet(Box::new(adapter.context(what)?)))
        }
        ProcessorKind::PayConnector => {
            let delay = section.consistency_delay;
            let adapter = PayConnector::new(PayConnectorSettings {
                connection,
                username: section.username.clone(),
                key,
                look_up: section.look_up_url.clone(),
                consistency_delay: delay.map_or(PayConnector::CONSISTENCY_DELAY, |span| span.0),
            });
            Some(Real::PayConnector(Box::new(adapter.context(what)?)))
        }
    })
}
