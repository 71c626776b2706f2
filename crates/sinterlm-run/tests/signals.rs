//! Signals raise the flag while a run holds it; before, and on a second Ctrl-C, they end the process at
//! once.
#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "unwrap is for tests")]

use std::{
    env,
    process::{Command, ExitStatus, Stdio},
    thread,
    time::Duration,
};

use signal_hook::{
    consts::{SIGINT, SIGTERM},
    low_level::raise,
};
use sinterlm_run::{StopFlag, StopReason};

/// Run as a child process by the tests below, as handlers belong to the whole process.
#[test]
fn child_that_raises_signals() {
    let Ok(signals) = env::var("SINTERLM_SIGNAL_CHILD") else {
        return;
    };
    let stop = StopFlag::install().unwrap();
    assert_eq!(stop.requested(), None);
    let held = env::var_os("SINTERLM_SIGNAL_HELD").map(|_| stop.hold());
    for signal in signals.split(',') {
        raise(signal.parse().unwrap()).unwrap();
        thread::sleep(Duration::from_millis(20));
    }
    drop(held);
    let reason = stop.requested().expect("a signal was raised");
    std::process::exit(reason.exit_status().code().into());
}

fn run_child(signals: &[i32]) -> ExitStatus {
    child(signals)
        .env("SINTERLM_SIGNAL_HELD", "1")
        .status()
        .unwrap()
}

fn child(signals: &[i32]) -> Command {
    let signals: Vec<_> = signals.iter().map(ToString::to_string).collect();
    let mut command = Command::new(env::current_exe().unwrap());
    command
        .args(["--exact", "child_that_raises_signals", "--nocapture"])
        .env("SINTERLM_SIGNAL_CHILD", signals.join(","))
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command
}

#[test]
fn with_nothing_to_save_the_first_signal_ends_the_process_at_once() {
    // Were the first one only noted, the second would give its own status.
    let ended = |signals| child(signals).status().unwrap().code();
    assert_eq!(ended(&[SIGTERM, SIGINT]), Some(143));
    assert_eq!(ended(&[SIGINT, SIGTERM]), Some(130));
}

#[test]
fn ctrl_c_and_sigterm_let_the_process_end_by_itself_with_their_status() {
    assert_eq!(run_child(&[SIGINT]).code(), Some(130));
    assert_eq!(run_child(&[SIGTERM]).code(), Some(143));
}

#[test]
fn a_second_ctrl_c_ends_the_process_at_once() {
    // Were the second one only noted, the SIGTERM after it would give 143.
    assert_eq!(run_child(&[SIGINT, SIGINT, SIGTERM]).code(), Some(130));
    assert_eq!(run_child(&[SIGINT, SIGTERM]).code(), Some(143));
}

#[test]
fn reasons_know_their_status() {
    let codes = [
        StopReason::Interrupt,
        StopReason::Terminate,
        StopReason::Request,
    ]
    .map(|reason| reason.exit_status().code());
    assert_eq!(codes, [130, 143, 0]);
}
