//! Payments over fakes, in simulated time.

mod creating;
mod fakes;
mod limits;
mod paying;
mod prepared;
mod real;
mod restarting;
mod signalled;
