//! journald: what it keeps is in memory, small and short-lived, since an intruder reads memory, too.
#![forbid(unsafe_code)]

use std::path::{Path, PathBuf};

use super::{DropIn, SERVICES_WANTED, Service, Wiring, WiringError, below};

/// The file.
pub const DROP_IN: &str = "/etc/systemd/journald.conf.d/zz-sealedlog.conf";
/// The unit that follows it where no syslog daemon takes its lines.
pub const FOLLOW: &str = "sealedlog-journal.service";

pub fn wiring(root: &Path) -> Result<Wiring, WiringError> {
    let takes_lines = |(daemon, unit): &(Service, &str)| {
        let is_started = below(root, SERVICES_WANTED).join(unit).symlink_metadata().is_ok();
        daemon.is_installed(root) && is_started && daemon.wiring(root).is_ok()
    };
    let has_daemon = [(Service::Rsyslog, "rsyslog.service"), (Service::SyslogNg, "syslog-ng.service")].iter().any(takes_lines);
    let content = "\
# Made by \"sealedlog enable journald\", removed by \"sealedlog disable journald\".
[Journal]
# No line on the disk; the syslog daemon gets each and has it sealed, or sealedlog-journal.service follows.
Storage=volatile
ForwardToSyslog=yes
# What an intruder finds in memory: about an hour. It is also how long who reads it may be away without a loss.
RuntimeMaxUse=16M
MaxFileSec=10min
MaxRetentionSec=1h
";
    let drop_ins = vec![DropIn { path: PathBuf::from(DROP_IN), content: content.to_owned() }];
    let left = "what journald wrote below /var/log/journal before stays there: sealedlog doctor".to_owned();
    let has_old = root.join("var/log/journal").is_dir();
    let units = if has_daemon { Vec::new() } else { vec![FOLLOW] };
    Ok(Wiring { drop_ins, units, left: has_old.then_some(left).into_iter().collect(), ..Wiring::default() })
}
