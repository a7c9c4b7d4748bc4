//! What a filter may still do after its start, kept by the kernel: Landlock for files, seccomp for everything else.
//!
//! Promised: after [`Sandbox::enter`] this thread and those that it starts reach the folders that were named and no other
//! file, make no connection, run no program and trace no process, except for what `enter` says could not be had. No
//! kernel is too old: what it lacks is told and done without. Not promised: anything of files and pipes that are open
//! already, or of other threads; it is entered before there are any.
//!
//! A Landlock rule belongs to a folder itself, not to its name. Administrators remove log folders and make them anew, or
//! unmount and mount them, and then a rule for the old folder would turn each line away. So the rule for logs stands on the
//! **parent** of the longest fixed folder of the log's name: who can make the log folder anew makes it below that. What
//! else lies in the parent can be appended to as well, but not removed, and neither run nor linked. Where the parent is `/` or a folder
//! that belongs to the system, as `/var` is for `/var/log`, that would be too much, and the rule stands on the log folder
//! alone; a new one in its place is out of reach until the filter is started again, which its warning says.
//! A log folder that is not there yet is made below the nearest one that is, which has the rule then; where that
//! belongs to the system there is no Landlock, and that is told.
//!
//! Keys are read again when they change, and their folder may be replaced: so the rule to read stands on its parent by the
//! same rules. Folders of state and progress are the filters' own; they are made before, and nobody replaces them.
mod seccomp;

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, PathBeneath, PathFd, PathFdError, Ruleset, RulesetAttr,
    RulesetCreatedAttr, RulesetError, RulesetStatus, Scope, make_bitflags,
};
use thiserror::Error;

/// The newest kernel interface that this was tried with.
const TRIED: ABI = ABI::V7;
/// Folders below `/` that hold programs, their configuration and their data.
const SYSTEM: [&str; 14] =
    ["bin", "boot", "dev", "etc", "lib", "lib32", "lib64", "proc", "root", "run", "sbin", "sys", "usr", "var"];

/// What is to be within reach. Nothing is, at first.
#[derive(Debug, Default)]
pub struct Sandbox {
    rules: Vec<(PathBuf, BitFlags<AccessFs>)>,
    /// Files are linked from one folder to another.
    links: bool,
    /// A folder that cannot be let within reach without too much else.
    too_much: Option<PathBuf>,
    /// What should be within reach and cannot be looked at: without its rule it would be out of reach for good.
    unknown: Option<LandlockError>,
}

/// Why there is no Landlock.
#[derive(Debug, Error)]
enum LandlockError {
    #[error("{}: {source}", path.display())]
    Path { path: PathBuf, source: io::Error },
    #[error(transparent)]
    Ruleset(#[from] RulesetError),
}

impl Sandbox {
    /// Keys in a file or in a folder can be read, and where links in the folder lead to now.
    pub fn keys(&mut self, path: &Path) {
        let Some(path) = self.resolve(path) else { return };
        let is_file = path.is_file();
        let links = if is_file { None } else { fs::read_dir(&path).ok() };
        for link in links.into_iter().flatten().flatten() {
            if let Ok(there) = fs::canonicalize(link.path())
                && !there.starts_with(&path)
            {
                self.rules.push((there, AccessFs::ReadFile.into()));
            }
        }
        self.rules.push(match parent(&path) {
            Some(parent) => (parent, AccessFs::ReadFile | AccessFs::ReadDir),
            None if is_file => (path, AccessFs::ReadFile.into()),
            None => (path, AccessFs::ReadFile | AccessFs::ReadDir),
        });
    }

    /// Files and folders can be made below `folder`, appended to, and with `truncates` emptied.
    pub fn logs(&mut self, folder: &Path, truncates: bool) {
        let folder = std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned());
        let Some((at, there)) = folder.ancestors().find_map(|at| Some((at, self.resolve(at)?))) else { return };
        let rule = if at == folder {
            parent(&there).unwrap_or(there)
        } else if belongs_to_system(&there) {
            self.too_much = Some(there);
            return;
        } else {
            there
        };
        let mut rights = make_bitflags!(AccessFs::{ReadFile | ReadDir | WriteFile | MakeReg | MakeDir});
        if truncates {
            rights |= AccessFs::Truncate;
        }
        self.rules.push((rule, rights));
    }

    /// A file of this name can be made and removed, as a link to one of the logs.
    pub fn link(&mut self, link: &Path) {
        let folder = link.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        if let Some(folder) = self.resolve(folder) {
            self.links = true;
            self.rules.push((folder, AccessFs::MakeReg | AccessFs::RemoveFile));
        }
    }

    /// Files can be made, appended to and renamed in this folder.
    pub fn window(&mut self, folder: &Path) {
        if let Some(folder) = self.resolve(folder) {
            self.rules.push((folder, make_bitflags!(AccessFs::{WriteFile | MakeReg | RemoveFile})));
        }
    }

    /// Everything that state needs can be done in this folder, which is made where it is missing, so that a rule can stand on
    /// it.
    pub fn state(&mut self, folder: &Path) {
        // Whoever needs it tells that it could not be made.
        let _ = DirBuilder::new().recursive(true).mode(0o700).create(folder);
        let rights = make_bitflags!(AccessFs::{ReadFile | ReadDir | WriteFile | MakeReg | MakeDir | RemoveFile | Truncate});
        self.rules.push((folder.to_owned(), rights));
    }

    /// Where a path leads to; `None` where nothing is there.
    fn resolve(&mut self, path: &Path) -> Option<PathBuf> {
        match fs::canonicalize(path) {
            Ok(there) => Some(there),
            Err(source) if source.kind() == io::ErrorKind::NotFound => None,
            Err(source) => {
                self.unknown.get_or_insert(LandlockError::Path { path: path.to_owned(), source });
                None
            }
        }
    }

    /// Enters it, for good. What could not be had, in words for a warning; nothing where all is well.
    pub fn enter(self) -> Vec<String> {
        // Landlock first: its system calls are none that a filter needs later.
        let mut lacks = Vec::new();
        match &self.too_much {
            Some(folder) => {
                lacks.push(format!("Landlock (the log folder is not there yet and would be made below {})", folder.display()));
            }
            None => match self.restrict_files() {
                Ok(RulesetStatus::NotEnforced) => lacks.push("Landlock (this kernel has none)".to_owned()),
                Ok(_) => {}
                Err(error) => lacks.push(format!("Landlock ({error})")),
            },
        }
        if let Err(error) = seccomp::deny() {
            lacks.push(format!("seccomp ({error})"));
        }
        lacks
    }

    fn restrict_files(self) -> Result<RulesetStatus, LandlockError> {
        if let Some(error) = self.unknown {
            return Err(error);
        }
        let mut ruleset = Ruleset::default();
        if self.links {
            // Kernels without this right allow no such link at all.
            let needed = ruleset.set_compatibility(CompatLevel::HardRequirement).handle_access(AccessFs::Refer)?;
            ruleset = needed.set_compatibility(CompatLevel::BestEffort);
        }
        let mut ruleset = ruleset
            .handle_access(AccessFs::from_all(TRIED))?
            .handle_access(AccessNet::from_all(TRIED))?
            .scope(Scope::from_all(TRIED))?
            .create()?;
        for (path, mut rights) in self.rules {
            if self.links {
                rights |= AccessFs::Refer;
            }
            match PathFd::new(&path) {
                Ok(folder) => ruleset = ruleset.add_rule(PathBeneath::new(folder, rights))?,
                // What is not there needs no rule.
                Err(PathFdError::OpenCall { source, .. }) if source.kind() == io::ErrorKind::NotFound => {}
                Err(PathFdError::OpenCall { source, .. }) => return Err(LandlockError::Path { path, source }),
                Err(error) => return Err(LandlockError::Path { path, source: io::Error::other(error) }),
            }
        }
        Ok(ruleset.restrict_self()?.ruleset)
    }
}

/// The folder that `path` can be made anew in, unless too much else lies there.
fn parent(path: &Path) -> Option<PathBuf> {
    path.parent().filter(|parent| !belongs_to_system(parent)).map(Path::to_owned)
}

/// Whether more is at stake in this folder than logs.
fn belongs_to_system(folder: &Path) -> bool {
    let mut names = folder.components().skip(1).map(|name| name.as_os_str());
    let Some(first) = names.next() else { return true };
    let depth = 1 + names.count();
    let least = match first {
        _ if SYSTEM.iter().any(|name| first == *name) => 3,
        _ if first == "home" || first == "opt" => 2,
        _ => 1,
    };
    depth < least && folder != Path::new("/var/log")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_of_the_system_are_known() {
        let system =
            ["/", "/var", "/etc", "/etc/apache2", "/var/lib", "/usr/local", "/root", "/root/x", "/home", "/opt", "/run/x"];
        let others = [
            "/var/log",
            "/var/log/apache2",
            "/var/lib/app",
            "/usr/local/app",
            "/srv",
            "/tmp",
            "/home/bob",
            "/opt/app",
            "/data/a",
        ];
        assert!(system.iter().all(|folder| belongs_to_system(Path::new(folder))));
        assert!(!others.iter().any(|folder| belongs_to_system(Path::new(folder))));
    }

    #[test]
    fn a_log_folder_that_would_be_made_below_a_folder_of_the_system_leaves_landlock_out() {
        super::super::in_child(|| {
            let mut sandbox = Sandbox::default();
            sandbox.logs(Path::new("/var/no-such-folder/log"), false);
            match &sandbox.enter()[..] {
                [one] if one.contains("Landlock") && one.contains("/var") => Ok(()),
                other => Err(format!("{other:?}")),
            }
        })
        .unwrap();
    }
}
