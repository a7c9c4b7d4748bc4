//! `sealedlog-syslog`: the program behind syslog-ng's `program()` and rsyslog's `omprog`.
#![forbid(unsafe_code)]

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;

use super::filter_args::FilterArgs;
use super::{Outcome, Trouble, report};
use crate::filter::confirm::Confirm;
use crate::filter::route::Template;
use crate::filter::target::{RoutedTarget, Target};
use crate::filter::{Until, WhenFull};
use crate::host::file::set_pipe_size;
use crate::host::process;

const PROGRAM: &str = "sealedlog-syslog";

const EXAMPLES: &str = r#"Examples (syslog-ng.conf, then rsyslog.conf; the sender is the one that the daemon sees, not the one that a message claims):
  destination d_sealedlog {
    program("exec /usr/bin/sealedlog-syslog /var/log/sealed/{host}/{log}.%Y-%m-%d.log"
      template("$HOST_FROM/$FACILITY $(replace-delimiter \"\n\" \" \" \"$ISODATE $HOST $MSGHDR$MSG\")\n")
      keep-alive(yes) time-reopen(1));
  };

  module(load="omprog")
  template(name="sealedlog" type="string"
    string="%fromhost-ip%/%syslogfacility-text% %timestamp:::date-rfc3339% %hostname:::escape-cc% %syslogtag:::escape-cc%%msg:::escape-cc%\n")
  action(type="omprog" name="sealedlog" template="sealedlog"
    binary="/usr/bin/sealedlog-syslog --use-transactions /var/log/sealed/{host}/{log}.%Y-%m-%d.log"
    confirmMessages="on" useTransactions="on" killUnresponsive="on"
    action.resumeRetryCount="-1" action.resumeInterval="1")

The files syslog-ng/sealedlog.conf and rsyslog/sealedlog.conf have the whole of it, with reasons."#;

/// Seal a syslog daemon's lines from standard input to public keys and append them to files
///
/// Where the file's name has a place for host or log, each line begins with a field that tells them, which the daemon's
/// template writes: `HOST/LOG `, `HOST ` or `LOG `, ended by one space. It is taken off, and the rest of the line is sealed.
/// Each file name is a log of its own. A value that is missing is `-`. The suffix of the record format (.pgp or .age64) is
/// added to the file's name.
#[derive(Parser, Debug)]
#[command(name = PROGRAM, version, after_help = EXAMPLES)]
pub struct Cli {
    #[command(flatten)]
    filter: FilterArgs,

    /// Most logs that are open at the same time; the one that was not used for the longest time is closed for another
    #[arg(long, value_name = "N", default_value_t = 128, value_parser = clap::value_parser!(u32).range(1..))]
    max_open: u32,

    /// Answer each line on standard output, as rsyslog's confirmMessages="on" wants it: "OK" after it is in the file, or why
    /// it is not; then rsyslog keeps it and sends it again
    #[arg(long, conflicts_with = "when_full")]
    confirm_messages: bool,

    /// Answer as rsyslog's useTransactions="on" wants it: lines of a transaction are in the file when they are answered, and
    /// on the disk when the transaction ends. Each line must begin with a field or a time, so that none reads as
    /// "BEGIN TRANSACTION"
    #[arg(long, conflicts_with = "when_full")]
    use_transactions: bool,

    /// Have the pipe from the daemon hold so many bytes, where the system allows it: a daemon that hands over without waiting
    /// for answers goes on while lines are sealed. If the program is killed they are lost; 64 KiB are usual
    #[arg(long, value_name = "BYTES", conflicts_with_all = ["confirm_messages", "use_transactions"])]
    pipe_size: Option<u32>,

    /// File to append to, with strftime conversions of the local time (%Y-%m-%d) and the placeholders {host} and {log};
    /// folders behind the first of them are made
    #[arg(value_name = "FILE-TEMPLATE")]
    template: PathBuf,
}

/// The program.
pub fn main() -> ExitCode {
    report(PROGRAM, run(Cli::parse()))
}

fn run(cli: Cli) -> Outcome {
    let template = Template::parse(&cli.template).map_err(|error| Trouble::new(&error, error.hint()))?;
    // Each log has a few. Where the limit stays, opening one log too many is told as any other file that cannot be opened.
    let _ = process::raise_open_files();
    if let Some(bytes) = cli.pipe_size {
        // A smaller one is slower, and nothing else; a file is none.
        let _ = set_pipe_size(std::io::stdin(), bytes);
    }
    let max_open = usize::try_from(cli.max_open).unwrap_or(usize::MAX);
    let target = Target::Routed(Box::new(RoutedTarget { template, max_open }));
    let when_full = match (cli.use_transactions, cli.confirm_messages) {
        (true, _) => WhenFull::Refuse(Confirm::Transactions),
        (false, true) => WhenFull::Refuse(Confirm::Messages),
        (false, false) => WhenFull::Block,
    };
    cli.filter.run(PROGRAM, target, Until::Eof, when_full)
}
