//! Payments over fakes, in simulated time.

mod creating;
mod fakes;
mod paying;
mod real;
mod restarting;
