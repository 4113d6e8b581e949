//! Where a lab keeps its files: what outlives it in the state folder, the rest in the runtime folder.

use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::edge::{Fault, OrFault};

/// The folders under which every lab has its own, chosen from the environment.
#[derive(Clone, Debug)]
pub struct Folders {
    /// `$VPCE_STATE`, else `$XDG_STATE_HOME/vpce`, else `~/.local/state/vpce`.
    pub state: PathBuf,
    /// `$XDG_RUNTIME_DIR/vpce`, else `/tmp/vpce-UID`.
    pub runtime: PathBuf,
}

impl Folders {
    /// Chooses them. `variable` looks a variable of the environment up.
    ///
    /// # Errors
    /// When there is no home folder to fall back on.
    pub fn choose(variable: impl Fn(&str) -> Option<String>) -> Result<Self, Fault> {
        let folder = |name: &str| variable(name).filter(|value| Path::new(value).is_absolute()).map(PathBuf::from);
        let state = folder("VPCE_STATE")
            .or_else(|| Some(folder("XDG_STATE_HOME")?.join("vpce")))
            .or_else(|| Some(folder("HOME")?.join(".local/state/vpce")))
            .ok_or_else(|| {
                Fault::new("no folder for the lab's state").remedy("set VPCE_STATE or HOME to an absolute path")
            })?;
        let uid = rustix::process::geteuid().as_raw();
        let runtime =
            folder("XDG_RUNTIME_DIR").map_or_else(|| format!("/tmp/vpce-{uid}").into(), |base| base.join("vpce"));
        Ok(Self { state, runtime })
    }

    /// The folders of the lab `name`.
    ///
    /// # Errors
    /// When no lab can be called that: names become folders, and parts of messages.
    pub fn of(&self, name: &str) -> Result<Directories, Fault> {
        if !is_name(name) {
            return Err(Fault::new(format!("{name:?} cannot be the name of a lab"))
                .remedy("use up to 40 lower-case letters, digits and hyphens"));
        }
        Ok(Directories { state: self.state.join(name), runtime: self.runtime.join(name) })
    }

    /// Names that have a runtime folder: labs that run, or ended without a farewell.
    pub fn names(&self) -> Vec<String> {
        let Ok(entries) = std::fs::read_dir(&self.runtime) else { return Vec::new() };
        let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        let mut names: Vec<String> = names.filter(|name| is_name(name)).collect();
        names.sort();
        names
    }
}

fn is_name(name: &str) -> bool {
    let fine = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    !name.is_empty() && name.len() <= 40 && name.chars().all(fine)
}

/// The folders of one lab. The methods name what lies in them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Directories {
    /// Kept: the certificate authority, logs, how the last run ended.
    pub state: PathBuf,
    /// Gone with the lab: sockets, keys, credentials, the hosts' files.
    pub runtime: PathBuf,
}

impl Directories {
    /// Makes both folders with what lies in them, closed to everybody else.
    ///
    /// # Errors
    /// When a folder cannot be made, or belongs to somebody else.
    pub fn create(&self) -> Result<(), Fault> {
        for folder in [&self.state, &self.runtime] {
            check_parent(folder.parent().unwrap_or(folder))?;
            create_private(folder)?;
        }
        create_private(&self.logs())
    }

    /// Certificate of the lab's authority, PEM. Clients trust it.
    pub fn ca_certificate(&self) -> PathBuf {
        self.state.join("ca.pem")
    }

    /// Key of the lab's authority, PEM, mode 0600.
    pub fn ca_key(&self) -> PathBuf {
        self.state.join("ca.key")
    }

    /// Folder of the log files.
    pub fn logs(&self) -> PathBuf {
        self.state.join("logs")
    }

    /// Log of one of the lab's processes: `supervisor`, `endpoint`, `onprem`.
    pub fn log(&self, process: &str) -> PathBuf {
        self.logs().join(process).with_extension("log")
    }

    /// One JSON line per invocation.
    pub fn access_log(&self) -> PathBuf {
        self.logs().join("access.jsonl")
    }

    /// Flow-log records.
    pub fn flow_log(&self) -> PathBuf {
        self.logs().join("flow.log")
    }

    /// What was created and changed through the API.
    pub fn control_state(&self) -> PathBuf {
        self.state.join("control.redb")
    }

    /// How the last run went: see [`super::client::LastRun`].
    pub fn last_run(&self) -> PathBuf {
        self.state.join("last-run.json")
    }

    /// Locked by the supervisor for as long as it lives.
    pub fn lock(&self) -> PathBuf {
        self.runtime.join("lock")
    }

    /// The supervisor's socket.
    pub fn control_socket(&self) -> PathBuf {
        self.runtime.join("control.sock")
    }

    /// The endpoint's socket.
    pub fn endpoint_socket(&self) -> PathBuf {
        self.runtime.join("endpoint.sock")
    }

    /// The customer gateway's socket.
    pub fn onprem_socket(&self) -> PathBuf {
        self.runtime.join("onprem.sock")
    }

    /// Access keys of the identities: see [`super::secrets::Credentials`].
    pub fn credentials(&self) -> PathBuf {
        self.runtime.join("credentials.json")
    }

    /// Keys of the tunnel: the text form of [`TunnelKeys`](crate::tunnel::keys::TunnelKeys).
    pub fn tunnel_keys(&self) -> PathBuf {
        self.runtime.join("tunnel-keys.toml")
    }

    /// What the supervisor was told to do: see [`super::supervisor::Plan`].
    pub fn plan(&self) -> PathBuf {
        self.runtime.join("plan.json")
    }

    /// Files that replace those in /etc on one machine.
    pub fn host_files(&self, host: &str) -> PathBuf {
        self.runtime.join("hosts").join(host)
    }
}

/// Makes the folder that labs' folders stand in, with mode 0700, or checks that nobody else can put something else in their
/// place: it is ours or root's, and others may not write to it, or only as in /tmp. One that is there stays as it is: it may
/// be a home folder, or /tmp itself.
fn check_parent(folder: &Path) -> Result<(), Fault> {
    if !folder.exists() {
        return create_private(folder);
    }
    const STICKY: u32 = 0o1000;
    let place = || folder.display().to_string();
    let there = std::fs::metadata(folder).or_fault(|| "cannot look at a folder").map_err(|fault| fault.at(place()))?;
    // A link is as good as whoever may point it elsewhere.
    let link = std::fs::symlink_metadata(folder).or_fault(|| "cannot look at a folder")?;
    let is_trusted = [there.uid(), link.uid()].iter().all(|uid| [0, rustix::process::geteuid().as_raw()].contains(uid));
    if !is_trusted || (there.mode() & 0o022 != 0 && there.mode() & STICKY == 0) {
        return Err(Fault::new("others could replace what stands in this folder")
            .at(place())
            .remedy("set VPCE_STATE and XDG_RUNTIME_DIR to folders that only you may write to"));
    }
    Ok(())
}

/// Makes `folder` with mode 0700, or checks that it is ours and no symbolic link: in /tmp anybody may have been first.
///
/// # Errors
/// When it cannot be made or is not ours.
pub fn create_private(folder: &Path) -> Result<(), Fault> {
    let place = || folder.display().to_string();
    let remedy = "set VPCE_STATE and XDG_RUNTIME_DIR to folders that you may write to";
    let parent = folder.parent().map_or(Ok(()), std::fs::create_dir_all);
    match parent.and_then(|()| std::fs::DirBuilder::new().mode(0o700).create(folder)) {
        Ok(()) => return Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
        Err(error) => {
            return Err(Fault::new(format!("cannot make a folder: {error}")).at(place()).remedy(remedy));
        }
    }
    let metadata = std::fs::symlink_metadata(folder).or_fault(|| "cannot look at a folder")?;
    if !metadata.is_dir() || metadata.uid() != rustix::process::geteuid().as_raw() {
        return Err(Fault::new("this is not a folder of yours").at(place()).remedy(remedy));
    }
    if metadata.mode() & 0o077 != 0 {
        std::fs::set_permissions(folder, PermissionsExt::from_mode(0o700))
            .or_fault(|| "cannot close a folder to others")
            .map_err(|fault| fault.at(place()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(variables: &[(&str, &str)]) -> Folders {
        Folders::choose(|name| variables.iter().find(|(n, _)| *n == name).map(|(_, v)| (*v).to_owned()))
            .expect("folders")
    }

    #[test]
    fn the_most_specific_variable_chooses_the_state_folder() {
        let home = ("HOME", "/home/u");
        assert_eq!(chosen(&[home]).state, Path::new("/home/u/.local/state/vpce"));
        assert_eq!(chosen(&[home, ("XDG_STATE_HOME", "/s")]).state, Path::new("/s/vpce"));
        assert_eq!(chosen(&[home, ("XDG_STATE_HOME", "/s"), ("VPCE_STATE", "/v")]).state, Path::new("/v"));
        assert_eq!(chosen(&[home, ("XDG_STATE_HOME", "relative")]).state, Path::new("/home/u/.local/state/vpce"));
    }

    #[test]
    fn a_name_that_could_leave_its_folder_is_refused() {
        let folders = chosen(&[("HOME", "/home/u")]);
        for name in ["", "..", "a/b", "A", "a b", &"x".repeat(41)] {
            folders.of(name).expect_err(name);
        }
        folders.of("quickstart-2").expect("fine");
    }

    #[test]
    fn without_any_folder_the_message_says_what_to_set() {
        let fault = Folders::choose(|_| None).expect_err("no home");
        assert_eq!(fault.remedy.as_deref(), Some("set VPCE_STATE or HOME to an absolute path"));
    }

    #[test]
    fn the_folder_around_a_labs_folders_keeps_its_mode() {
        let base = tempfile::tempdir().expect("folder");
        let mode = |path: &Path| std::fs::metadata(path).expect("there").mode() & 0o7777;
        let create = |around: &str, bits| {
            let around = base.path().join(around);
            std::fs::create_dir(&around).expect("made");
            std::fs::set_permissions(&around, PermissionsExt::from_mode(bits)).expect("opened");
            let lab = Directories { state: around.join("state"), runtime: around.join("run") };
            let created = lab.create();
            assert_eq!(mode(&around), bits, "nobody asked to change it");
            created.map(|()| [mode(&lab.state), mode(&lab.runtime)])
        };
        for (name, bits) in [("home", 0o755), ("tmp", 0o1777)] {
            assert_eq!(create(name, bits).expect("created"), [0o700, 0o700], "{name}");
        }
        assert_eq!(create("open", 0o777).expect_err("refused").what, "others could replace what stands in this folder");
        let fresh = base.path().join("fresh/state");
        Directories { state: fresh.join("a"), runtime: fresh.join("b") }.create().expect("created");
        assert_eq!(mode(&fresh), 0o700);
    }

    #[test]
    fn a_folder_open_to_others_is_closed_and_a_link_is_refused() {
        let base = tempfile::tempdir().expect("folder");
        let open = base.path().join("open");
        std::fs::create_dir(&open).expect("made");
        std::fs::set_permissions(&open, PermissionsExt::from_mode(0o777)).expect("opened");
        create_private(&open).expect("closed");
        assert_eq!(std::fs::metadata(&open).expect("there").mode() & 0o777, 0o700);
        let link = base.path().join("link");
        std::os::unix::fs::symlink(&open, &link).expect("linked");
        assert_eq!(create_private(&link).expect_err("refused").what, "this is not a folder of yours");
    }
}
