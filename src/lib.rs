//! tonewall: a PCI DSS DTMF payment-capture gateway for call centres.

pub mod proto;
