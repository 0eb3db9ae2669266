//! The command line that all benches of the ear understand.

/// What was asked for.
pub(crate) struct Options {
    /// Fewer trials.
    pub(crate) quick: bool,
    /// Exit with 1 when a goal is missed.
    pub(crate) check: bool,
    /// Go on, and pass, without the peers.
    pub(crate) allow_missing: bool,
    /// First number of every random sequence.
    pub(crate) seed: u64,
}

impl Options {
    /// From the arguments of the process; says what it knows and exits when it finds another.
    pub(crate) fn from_arguments(bench: &str) -> Self {
        let mut options = Self {
            quick: false,
            check: false,
            allow_missing: false,
            seed: std::time::SystemTime::now()
                .duration_since(std::time::UNIX_EPOCH)
                .map_or(1, |since| since.as_nanos() as u64 % 1_000_000_007),
        };
        let mut arguments = std::env::args().skip(1);
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                "--quick" => options.quick = true,
                "--check" => options.check = true,
                "--allow-missing" => options.allow_missing = true,
                "--seed" => match arguments.next().map(|seed| seed.parse()) {
                    Some(Ok(seed)) => options.seed = seed,
                    found => fail(bench, &format!("--seed {found:?}; expected a whole number")),
                },
                // What cargo adds.
                "--bench" => {}
                other => fail(bench, &format!("found {other:?}")),
            }
        }
        println!("seed {}", options.seed);
        options
    }
}

fn fail(bench: &str, found: &str) -> ! {
    eprintln!(
        "{found}\nusage: cargo bench --bench {bench} -- [--quick] [--check] [--allow-missing] [--seed N]"
    );
    std::process::exit(2);
}
