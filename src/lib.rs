//! tonewall: a PCI DSS DTMF payment-capture gateway for call centres.

pub mod audit_log;
pub mod callbacks;
pub mod config;
pub mod demo;
pub mod gateway;
pub mod http;
pub mod journal;
pub mod listen;
pub mod media;
pub mod metrics;
pub mod processor;
pub mod proto;
pub mod secret_memory;
pub mod shadow;
pub mod signal;
