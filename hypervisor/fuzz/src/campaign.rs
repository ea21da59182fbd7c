//! A campaign: mutate, run, keep what came out differently, until rounds or time are over or a promise is broken.
//!
//! The same seed and number of rounds give the same inputs on every machine.

use crate::mutate::mutate;
use crate::{Outcome, Target};
use hypervisor::mmu::miniature::Random;
use std::collections::HashMap;
use std::panic::{self, AssertUnwindSafe};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Inputs kept of one outcome.
const KEPT_PER_OUTCOME: usize = 16;
/// An input that takes longer is a finding: it hangs.
pub const HANG_LIMIT: Duration = Duration::from_secs(20);
/// Most attempts to make a finding smaller.
const SHRINK_ATTEMPTS: usize = 4000;
/// Rounds between two looks at the clock.
const ROUNDS_PER_LOOK: u64 = 64;

/// When a campaign ends by itself.
#[derive(Clone, Copy, Debug)]
pub enum Until {
    /// After so many inputs.
    Rounds(u64),
    /// After so long.
    Time(Duration),
}

/// What a campaign found.
pub struct Report {
    /// Inputs that were run.
    pub rounds: u64,
    /// Different outcomes.
    pub outcomes: usize,
    /// The first input that broke a promise, made as small as it could be, and what it said.
    pub finding: Option<(Vec<u8>, String)>,
}

/// The input that is being run, and since when; for whoever watches for a hang.
pub type Running = Arc<Mutex<Option<(Vec<u8>, Instant)>>>;

/// Runs `target` from `seed` on.
#[must_use]
pub fn run(target: &Target, seed: u64, until: Until, running: &Running) -> Report {
    let mut campaign = Campaign {
        target,
        running,
        corpus: Vec::new(),
        kept: HashMap::new(),
        // Not 0, which xorshift would keep for ever, and another sequence for each target.
        random: Random::new(mixed(seed, target.name)),
    };
    let started = Instant::now();
    let mut rounds = 0;
    let seeds = (target.seeds)();
    let mut next: Box<dyn Iterator<Item = Vec<u8>>> = Box::new(seeds.into_iter());
    let finding = loop {
        let is_over = match until {
            Until::Rounds(most) => rounds >= most,
            Until::Time(limit) => rounds % ROUNDS_PER_LOOK == 0 && started.elapsed() >= limit,
        };
        if is_over {
            break None;
        }
        let input = next.next().unwrap_or_else(|| campaign.mutant());
        rounds += 1;
        if let Err(message) = campaign.take(&input) {
            break Some(campaign.shrink(input, message));
        }
    };
    Report { rounds, outcomes: campaign.kept.len(), finding }
}

fn mixed(seed: u64, name: &str) -> u64 {
    let start = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    name.bytes().fold(start, |mixed, byte| (mixed ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)) | 1
}

struct Campaign<'a> {
    target: &'a Target,
    running: &'a Running,
    corpus: Vec<Vec<u8>>,
    /// Inputs in the corpus, by outcome.
    kept: HashMap<Outcome, usize>,
    random: Random,
}

impl Campaign<'_> {
    fn mutant(&mut self) -> Vec<u8> {
        let random = &mut self.random;
        if self.corpus.is_empty() {
            return Vec::new();
        }
        let count = self.corpus.len() as u64;
        // Those found last are the least explored.
        let newest = count - 1 - random.below(count.min(8));
        let chosen = if random.one_in(3) { newest } else { random.below(count) } as usize;
        let other = random.below(count) as usize;
        mutate(&self.corpus[chosen], &self.corpus[other], self.target.most_bytes, random)
    }

    /// Runs an input and keeps it if it came out as few did.
    fn take(&mut self, input: &[u8]) -> Result<(), String> {
        let outcome = attempt(self.target, input, self.running)?;
        let kept = self.kept.entry(outcome).or_default();
        if *kept < KEPT_PER_OUTCOME {
            *kept += 1;
            self.corpus.push(input.to_vec());
        }
        Ok(())
    }

    /// A smaller input that breaks a promise as well.
    fn shrink(&mut self, mut input: Vec<u8>, mut message: String) -> (Vec<u8>, String) {
        for attempts in 0..SHRINK_ATTEMPTS {
            if input.is_empty() {
                break;
            }
            let mut smaller = input.clone();
            let at = self.random.below(input.len() as u64) as usize;
            match attempts % 3 {
                0 => smaller.truncate(at),
                1 => {
                    let end = (at + 1 + self.random.below(32) as usize).min(smaller.len());
                    smaller.drain(at..end);
                }
                _ => smaller[at] = 0,
            }
            if smaller != input
                && let Err(said) = attempt(self.target, &smaller, self.running)
            {
                (input, message) = (smaller, said);
            }
        }
        (input, message)
    }
}

/// Runs one input. The error is what it broke.
///
/// # Errors
/// The message of the panic.
pub fn attempt(target: &Target, input: &[u8], running: &Running) -> Result<Outcome, String> {
    let set = |state| *running.lock().unwrap_or_else(PoisonError::into_inner) = state;
    set(Some((input.to_vec(), Instant::now())));
    let result = panic::catch_unwind(AssertUnwindSafe(|| (target.run)(input)));
    set(None);
    result.map_err(|payload| {
        let text = payload.downcast_ref::<String>().map(String::as_str);
        text.or_else(|| payload.downcast_ref::<&str>().copied()).unwrap_or("a panic without words").to_owned()
    })
}
