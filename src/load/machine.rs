//! What the machine did meanwhile: processor time of processes and cores, memory, and which processor runs what.

use std::path::Path;
use std::time::Duration;

use rustix::process::Pid;
use rustix::thread::CpuSet;
use serde::{Deserialize, Serialize};

use crate::edge::{Fault, OrFault};

/// A process whose processor time is wanted.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Watched {
    /// What it is called in reports.
    pub name: String,
    /// Its process id; its descendants are counted with it.
    pub pid: i32,
}

impl std::str::FromStr for Watched {
    type Err = String;

    /// `PID` or `NAME=PID`.
    fn from_str(text: &str) -> Result<Self, String> {
        let (name, pid) = text.split_once('=').unwrap_or((text, text));
        let pid = pid.parse().map_err(|_| format!("{pid:?} is no process id"))?;
        Ok(Self { name: name.to_owned(), pid })
    }
}

/// Processor time, in the program's own code and in the kernel on its behalf.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct CpuTime {
    /// Seconds in user mode.
    pub user_s: f64,
    /// Seconds in the kernel.
    pub system_s: f64,
}

impl CpuTime {
    /// Both together, seconds.
    pub fn total_s(&self) -> f64 {
        self.user_s + self.system_s
    }

    fn since(&self, earlier: &Self) -> Self {
        Self { user_s: (self.user_s - earlier.user_s).max(0.0), system_s: (self.system_s - earlier.system_s).max(0.0) }
    }
}

/// What a process used in a window.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct ProcessUse {
    /// What it is called.
    pub name: String,
    /// Its process id.
    pub pid: i32,
    /// Processor time of the process and its descendants.
    #[serde(flatten)]
    pub cpu: CpuTime,
    /// Resident memory of all of them at the window's end, bytes.
    pub rss_bytes: u64,
}

/// What a processor did in a window.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
pub struct CoreUse {
    /// Its number.
    pub cpu: usize,
    /// The share of the window in which it was busy, 0 to 1.
    pub busy: f64,
    /// The share that the machine below took away, 0 to 1.
    pub stolen: f64,
}

/// One reading of all counters.
#[derive(Clone, Debug)]
pub struct Reading {
    processes: Vec<CpuTime>,
    own: CpuTime,
    cores: Vec<(usize, [u64; 3])>,
}

/// Reads the counters of some processes.
#[derive(Clone, Debug)]
pub struct Machine {
    /// Each with its descendants, itself first.
    watched: Vec<(Watched, Vec<i32>)>,
    tick: f64,
}

impl Machine {
    /// Watches these processes and those that descend from them now.
    ///
    /// # Errors
    /// When one of them does not exist.
    pub fn watch(watched: &[Watched]) -> Result<Self, Fault> {
        let parents = parents();
        let family = |watched: &Watched| {
            let mut family = vec![watched.pid];
            let mut at = 0;
            while let Some(parent) = family.get(at).copied() {
                family.extend(parents.iter().filter(|(_, of)| *of == parent).map(|(pid, _)| *pid));
                at += 1;
            }
            family
        };
        // 100 on every machine that Rust runs on.
        let tick = 1.0 / f64::from(u32::try_from(rustix::param::clock_ticks_per_second()).unwrap_or(100));
        let machine = Self { watched: watched.iter().map(|one| (one.clone(), family(one))).collect(), tick };
        for (one, _) in &machine.watched {
            machine.cpu_of(one.pid).ok_or_else(|| {
                Fault::new(format!("no process {}", one.pid)).remedy("name a process that runs and can be seen here")
            })?;
        }
        Ok(machine)
    }

    /// Reads all counters.
    pub fn read(&self) -> Reading {
        let sum = |family: &Vec<i32>| {
            family.iter().filter_map(|pid| self.cpu_of(*pid)).fold(CpuTime::default(), |sum, one| CpuTime {
                user_s: sum.user_s + one.user_s,
                system_s: sum.system_s + one.system_s,
            })
        };
        let own = i32::try_from(std::process::id()).ok().and_then(|pid| self.cpu_of(pid));
        Reading {
            processes: self.watched.iter().map(|(_, family)| sum(family)).collect(),
            own: own.unwrap_or_default(),
            cores: cores(),
        }
    }

    /// What was used between two readings.
    pub fn between(&self, before: &Reading, after: &Reading) -> (Vec<ProcessUse>, CpuTime, Vec<CoreUse>) {
        let times = after.processes.iter().zip(&before.processes).map(|(after, before)| after.since(before));
        let processes = self.watched.iter().zip(times).map(|((watched, family), cpu)| ProcessUse {
            name: watched.name.clone(),
            pid: watched.pid,
            cpu,
            rss_bytes: family.iter().filter_map(|pid| rss(*pid)).sum(),
        });
        let cores = after.cores.iter().filter_map(|(cpu, after)| {
            let (_, before) = before.cores.iter().find(|(known, _)| known == cpu)?;
            let [all, idle, stolen] = [0, 1, 2].map(|i| after[i].saturating_sub(before[i]));
            let share = |ticks: u64| if all == 0 { 0.0 } else { ticks as f64 / all as f64 };
            Some(CoreUse { cpu: *cpu, busy: 1.0 - share(idle + stolen), stolen: share(stolen) })
        });
        (processes.collect(), after.own.since(&before.own), cores.collect())
    }

    /// proc(5): fields 14 and 15 of stat, all threads of the process together.
    fn cpu_of(&self, pid: i32) -> Option<CpuTime> {
        let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let mut fields = stat_fields(&text);
        let user: u32 = fields.nth(11)?.parse().ok()?;
        let system: u32 = fields.next()?.parse().ok()?;
        Some(CpuTime { user_s: f64::from(user) * self.tick, system_s: f64::from(system) * self.tick })
    }
}

/// The fields of a stat line behind the name, which may contain anything: the first is field 3, the state.
fn stat_fields(text: &str) -> std::str::SplitAsciiWhitespace<'_> {
    text.rsplit_once(')').map_or("", |(_, rest)| rest).split_ascii_whitespace()
}

/// Every process and its parent.
fn parents() -> Vec<(i32, i32)> {
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<i32>().ok());
    let parent = |pid: i32| {
        let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        Some((pid, stat_fields(&text).nth(1)?.parse().ok()?))
    };
    pids.filter_map(parent).collect()
}

/// Resident memory of a process, bytes.
pub fn rss(pid: i32) -> Option<u64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? * 1024)
}

/// Ticks of each processor: all, idle, stolen. proc(5), /proc/stat.
fn cores() -> Vec<(usize, [u64; 3])> {
    let text = std::fs::read_to_string("/proc/stat").unwrap_or_default();
    let line = |line: &str| {
        let (name, rest) = line.split_once(' ')?;
        let cpu = name.strip_prefix("cpu")?.parse().ok()?;
        // user nice system idle iowait irq softirq steal; what follows is counted in the first two.
        let ticks: Vec<u64> = rest.split_ascii_whitespace().take(8).filter_map(|field| field.parse().ok()).collect();
        let [_, _, _, idle, waiting, .., stolen] = ticks[..] else { return None };
        Some((cpu, [ticks.iter().sum(), idle + waiting, stolen]))
    };
    text.lines().filter_map(line).collect()
}

/// Lets a process run on these processors only: all its threads, and those they start later.
///
/// # Errors
/// When a processor does not exist or the process is somebody else's.
pub fn pin(pid: i32, cpus: &[usize]) -> Result<(), Fault> {
    let set = cpu_set(cpus)?;
    let folder = format!("/proc/{pid}/task");
    let place = || format!("process {pid}");
    let threads =
        std::fs::read_dir(Path::new(&folder)).or_fault(|| "cannot list threads").map_err(|f| f.at(place()))?;
    for thread in threads.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok().and_then(Pid::from_raw)) {
        match rustix::thread::sched_setaffinity(Some(thread), &set) {
            // A thread that ended meanwhile needs no processor.
            Ok(()) | Err(rustix::io::Errno::SRCH) => {}
            Err(errno) => {
                let fault = Fault::new(format!("cannot pin a thread to processors {cpus:?}: {errno}")).at(place());
                return Err(fault.remedy("name processors that this program may use: see `nproc`, `--cpus`"));
            }
        }
    }
    Ok(())
}

/// Lets the calling thread run on these processors only.
///
/// # Errors
/// When a processor does not exist.
pub fn pin_thread(cpus: &[usize]) -> Result<(), Fault> {
    rustix::thread::sched_setaffinity(None, &cpu_set(cpus)?)
        .or_fault(|| format!("cannot run on processors {cpus:?}"))
        .map_err(|fault| fault.remedy("name processors that this program may use: see `nproc`, `--cpus`"))
}

fn cpu_set(cpus: &[usize]) -> Result<CpuSet, Fault> {
    let mut set = CpuSet::new();
    for cpu in cpus {
        if *cpu >= CpuSet::MAX_CPU {
            return Err(Fault::new(format!("there is no processor {cpu}")));
        }
        set.set(*cpu);
    }
    Ok(set)
}

/// The processors that the calling thread may run on.
pub fn allowed() -> Vec<usize> {
    let Ok(set) = rustix::thread::sched_getaffinity(None) else { return Vec::new() };
    (0..CpuSet::MAX_CPU).filter(|cpu| set.is_set(*cpu)).collect()
}

/// Lets this process have `wanted` files open, connections among them.
///
/// # Errors
/// When the system allows fewer.
pub fn allow_files(wanted: usize) -> Result<(), Fault> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let wanted = u64::try_from(wanted).unwrap_or(u64::MAX);
    if limit.current.is_none_or(|current| current >= wanted) {
        return Ok(());
    }
    setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum: limit.maximum }).map_err(|_| {
        let maximum = limit.maximum.unwrap_or(u64::MAX);
        Fault::new(format!("{wanted} open files are needed, but this system allows {maximum}"))
            .remedy("use fewer connections, or raise the limit: see `ulimit -Hn`")
    })
}

/// Most files that this process may have open.
pub fn files_allowed() -> usize {
    let maximum = rustix::process::getrlimit(rustix::process::Resource::Nofile).maximum;
    maximum.and_then(|maximum| usize::try_from(maximum).ok()).unwrap_or(usize::MAX)
}

/// Has the calling thread woken when it asked for, and not up to 50 µs later, which is what the kernel otherwise takes to
/// wake several threads together: prctl(2), `PR_SET_TIMERSLACK`.
pub fn be_punctual() {
    // Refused, requests are sent a little late, which counts against the server and not for it.
    _ = rustix::thread::set_current_timer_slack(std::num::NonZeroU64::new(1));
}

/// Processor time of the calling thread.
pub fn thread_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_named_by_its_number_or_given_a_name() {
        assert_eq!("12".parse(), Ok(Watched { name: "12".to_owned(), pid: 12 }));
        assert_eq!("nginx=12".parse(), Ok(Watched { name: "nginx".to_owned(), pid: 12 }));
        assert_eq!("nginx".parse::<Watched>(), Err("\"nginx\" is no process id".to_owned()));
    }

    #[test]
    fn work_shows_in_the_counters_of_process_thread_and_core() {
        let own = i32::try_from(std::process::id()).expect("an id");
        let machine = Machine::watch(&[Watched { name: "own".to_owned(), pid: own }]).expect("it runs");
        let (before, thread) = (machine.read(), thread_time());
        // Ticks are counted in hundredths of seconds.
        while thread_time() - thread < Duration::from_millis(50) {
            std::hint::black_box(crate::sigv4::sha256(&[0; 4096]));
        }
        let (processes, cpu, cores) = machine.between(&before, &machine.read());
        assert!(processes[0].cpu.total_s() >= 0.03 && cpu.total_s() >= 0.03, "{processes:?} {cpu:?}");
        assert!(processes[0].rss_bytes > 1 << 20, "{processes:?}");
        assert!(cores.iter().any(|core| core.busy > 0.0), "{cores:?}");
    }

    #[test]
    fn a_process_that_is_not_there_cannot_be_watched() {
        let gone = Watched { name: "gone".to_owned(), pid: i32::MAX };
        assert!(Machine::watch(&[gone]).expect_err("refused").what.starts_with("no process "));
    }

    #[test]
    fn a_name_with_spaces_and_parentheses_does_not_shift_the_fields() {
        assert_eq!(stat_fields("7 (a) b (c) S 1 2 3").next(), Some("S"));
    }
}
