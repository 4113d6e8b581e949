//! Shared by tests that need network namespaces of their own.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "tests fail loudly and say what they skip")]

use std::ffi::CString;
use std::os::fd::AsFd as _;
use std::os::unix::ffi::OsStringExt as _;

use rustix::process::{Pid, WaitOptions, waitpid};
use vpce::edge::sys::{self, Program};
use vpce::edge::{namespace, tun};

const INSIDE: &str = "VPCE_TEST_INSIDE";

/// Runs `body` as root of new user, PID, mount and IPC namespaces, in a process of its own: the test program again, with
/// this one test. `test` is the calling test's name. Where the machine forbids it, says so and checks nothing.
pub fn inside_namespaces(test: &str, body: impl FnOnce()) {
    if std::env::var_os(INSIDE).is_some() {
        return body();
    }
    if let Err(fault) = tun::open_device_file() {
        println!("skipped: {fault}");
        return;
    }
    match start(test) {
        Err(reason) => println!("skipped: no namespaces: {reason}"),
        Ok(pid) => {
            let (_, status) = waitpid(Some(pid), WaitOptions::empty()).unwrap().unwrap();
            assert_eq!(status.exit_status(), Some(0), "inside its namespaces {test} failed: {status:?}");
        }
    }
}

fn start(test: &str) -> Result<Pid, String> {
    let environment = std::env::vars_os().chain([(INSIDE.into(), "1".into())]).map(|(name, value)| {
        let mut pair = name.into_vec();
        pair.push(b'=');
        pair.extend(value.into_vec());
        CString::new(pair).unwrap()
    });
    let standard_streams = [
        std::io::stdin().as_fd().try_clone_to_owned().unwrap(),
        std::io::stdout().as_fd().try_clone_to_owned().unwrap(),
        std::io::stderr().as_fd().try_clone_to_owned().unwrap(),
    ];
    let program = Program {
        path: c"/proc/self/exe".to_owned(),
        arguments: ["test", test, "--exact", "--nocapture"].map(|text| CString::new(text).unwrap()).into(),
        environment: environment.collect(),
        descriptors: standard_streams.into(),
    };
    let gated = sys::start_in_namespaces(&program).map_err(|error| error.to_string())?;
    namespace::write_id_maps(gated.pid()).map_err(|fault| fault.to_string())?;
    gated.open().map_err(|error| error.to_string())
}
