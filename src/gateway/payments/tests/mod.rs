//! Payments over fakes, in simulated time.

mod creating;
mod fakes;
mod limits;
mod notified;
mod paying;
mod prepared;
mod real;
mod restarting;
mod signalled;
