//! What sealing each line costs with the libraries that others would take: a message of Sequoia or a file of the age crate a
//! line, from standard input to standard output.
#![forbid(unsafe_code)]

use std::io::{self, BufRead, BufWriter, Write};

use sequoia_openpgp as openpgp;

use openpgp::Cert;
use openpgp::parse::Parse;
use openpgp::policy::StandardPolicy;
use openpgp::serialize::stream::{Encryptor, LiteralWriter, Message};

/// What Sequoia's documentation gives for encrypting, once a line: standard input to standard output.
pub fn sequoia_a_line(cert: &str) -> anyhow::Result<()> {
    let (policy, cert) = (StandardPolicy::new(), Cert::from_file(cert)?);
    let keys: Vec<_> =
        cert.keys().with_policy(&policy, None).supported().alive().revoked(false).for_storage_encryption().collect();
    each_line(|line, out| {
        let message = Encryptor::for_recipients(Message::new(out), keys.iter().cloned()).build()?;
        let mut literal = LiteralWriter::new(message).build()?;
        literal.write_all(line)?;
        literal.finalize()
    })
}

/// What the age crate's documentation gives for encrypting, once a line: standard input to standard output.
pub fn age_a_line(recipient: &str) -> anyhow::Result<()> {
    let recipient: age::x25519::Recipient = recipient.parse().map_err(anyhow::Error::msg)?;
    each_line(|line, out| {
        let encryptor = age::Encryptor::with_recipients(std::iter::once(&recipient as &dyn age::Recipient))?;
        let mut payload = encryptor.wrap_output(out)?;
        payload.write_all(line)?;
        payload.finish()?;
        Ok(())
    })
}

fn each_line(mut write: impl FnMut(&[u8], &mut (dyn Write + Send + Sync)) -> anyhow::Result<()>) -> anyhow::Result<()> {
    let (mut input, mut out) = (io::stdin().lock(), BufWriter::new(io::stdout()));
    let mut line = Vec::new();
    while input.read_until(b'\n', &mut line)? > 0 {
        write(&line, &mut out)?;
        line.clear();
    }
    Ok(out.flush()?)
}
