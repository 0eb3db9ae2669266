//! tonewall: a PCI DSS DTMF payment-capture gateway for call centres.

pub mod media;
pub mod proto;
pub mod secret_memory;
