//! Composes the planes.

pub mod payments;
