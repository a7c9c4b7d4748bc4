//! journald: what it keeps is in memory, small and short-lived, since an intruder reads memory, too.
#![forbid(unsafe_code)]

use std::path::{Path, PathBuf};

use super::{DropIn, Service, Wiring, WiringError};

/// The file.
pub const DROP_IN: &str = "/etc/systemd/journald.conf.d/zz-sealedlog.conf";

pub fn wiring(root: &Path) -> Result<Wiring, WiringError> {
    if ![Service::Rsyslog, Service::SyslogNg].iter().any(|daemon| daemon.is_installed(root)) {
        return Err(WiringError::NoSyslog);
    }
    let content = "\
# Made by \"sealedlog enable journald\", removed by \"sealedlog disable journald\".
[Journal]
# No line on the disk; the syslog daemon gets each, and has it sealed.
Storage=volatile
ForwardToSyslog=yes
# What an intruder finds in memory: about an hour. It is also how long the syslog daemon may be away without a loss.
RuntimeMaxUse=16M
MaxFileSec=10min
MaxRetentionSec=1h
";
    let drop_ins = vec![DropIn { path: PathBuf::from(DROP_IN), content: content.to_owned() }];
    let left = "what journald wrote below /var/log/journal before stays there: sealedlog doctor".to_owned();
    let has_old = root.join("var/log/journal").is_dir();
    Ok(Wiring { logs: Vec::new(), drop_ins, left: has_old.then_some(left).into_iter().collect() })
}
