//! What `keygen` asks where its options do not say it.
//!
//! Promises: an answer that makes no sense is asked for again, with what is wanted; nothing is made before all is answered.
#![forbid(unsafe_code)]

use std::io::{self, BufRead, Write};
use std::path::PathBuf;
use std::str::FromStr;

use super::KeygenArgs;
use crate::identity::shares::FEWEST;

/// Asks for what the options leave open.
pub fn ask(args: &mut KeygenArgs, input: &mut dyn BufRead, out: &mut dyn Write) -> io::Result<()> {
    let mut dialogue = Dialogue { input, out };
    if !args.age && args.name.is_none() && args.expires.is_none() {
        dialogue.say("Kind of key:\n  1  OpenPGP, for sealedlog and any other program that knows RFC 9580\n  2  age\n")?;
        args.age = dialogue.number("Which", 1, 1, 2)? == 2;
    }
    if !args.age && args.name.is_none() {
        let name = dialogue.line("Name in the key, for people, as in Log auditor <auditor@example.org> (may be empty): ")?;
        args.name = Some(name).filter(|name| !name.is_empty());
    }
    if args.shares.is_none() && !args.no_passphrase && args.passphrase_fd.is_none() {
        dialogue.say(
            "How many people hold the secret key? 1: it is one file, under a passphrase. More: each gets a share, and no one\n\
             opens logs alone.\n",
        )?;
        let shares = dialogue.number("How many", 1, 1, u8::MAX)?;
        if shares >= FEWEST {
            dialogue.say(
                "How many of them must come together to open logs? Some less than all, so that a lost share loses no log.\n",
            )?;
            let most = (shares / 2 + 1).max(FEWEST);
            args.threshold = Some(dialogue.number("How many", most, FEWEST, shares)?);
            args.shares = Some(shares);
        }
    }
    let folder = dialogue.line("Folder for the files [sealedlog-keys]: ")?;
    let folder = PathBuf::from(if folder.is_empty() { "sealedlog-keys".to_owned() } else { folder });
    if args.page.is_none() && dialogue.yes("Write a page to print, with the fingerprint and what to do?")? {
        args.page = Some(folder.join("sealedlog-key.html"));
    }
    args.output = Some(folder);
    Ok(())
}

struct Dialogue<'a> {
    input: &'a mut dyn BufRead,
    out: &'a mut dyn Write,
}

impl Dialogue<'_> {
    fn say(&mut self, text: &str) -> io::Result<()> {
        self.out.write_all(text.as_bytes())?;
        self.out.flush()
    }

    fn line(&mut self, question: &str) -> io::Result<String> {
        self.say(question)?;
        let mut line = String::new();
        if self.input.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(line.trim().to_owned())
    }

    fn number(&mut self, question: &str, usual: u8, least: u8, most: u8) -> io::Result<u8> {
        loop {
            let line = self.line(&format!("{question} [{usual}]: "))?;
            let number = if line.is_empty() { Ok(usual) } else { u8::from_str(&line) };
            match number {
                Ok(number) if (least..=most).contains(&number) => return Ok(number),
                _ => self.say(&format!("a number from {least} to {most} is wanted\n"))?,
            }
        }
    }

    fn yes(&mut self, question: &str) -> io::Result<bool> {
        loop {
            match &self.line(&format!("{question} [y]: "))?.to_lowercase()[..] {
                "" | "y" | "yes" => return Ok(true),
                "n" | "no" => return Ok(false),
                _ => self.say("y or n is wanted\n")?,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::{Args, Command, FromArgMatches};

    use super::*;

    fn asked(options: &[&str], answers: &str) -> (io::Result<()>, KeygenArgs, String) {
        let command = KeygenArgs::augment_args(Command::new("keygen"));
        let matches = command.try_get_matches_from([&["keygen"], options].concat()).unwrap();
        let (mut args, mut out) = (KeygenArgs::from_arg_matches(&matches).unwrap(), Vec::new());
        let outcome = ask(&mut args, &mut answers.as_bytes(), &mut out);
        (outcome, args, String::from_utf8(out).unwrap())
    }

    #[test]
    fn the_usual_answers() {
        let (outcome, args, _) = asked(&[], "\n\n\n\n\n");
        outcome.unwrap();
        assert_eq!((args.age, args.name, args.shares, args.threshold), (false, None, None, None));
        assert_eq!(args.output, Some("sealedlog-keys".into()));
        assert_eq!(args.page, Some("sealedlog-keys/sealedlog-key.html".into()));
    }

    #[test]
    fn answers_are_taken_and_nonsense_is_asked_for_again() {
        let (outcome, args, told) = asked(&[], "3\n1\n Ann <a@example.org> \n300\n5\n1\n6\n\nkeys\nperhaps\nn\n");
        outcome.unwrap();
        assert_eq!(args.name.as_deref(), Some("Ann <a@example.org>"));
        assert_eq!((args.shares, args.threshold), (Some(5), Some(3)));
        assert_eq!((args.output, args.page), (Some("keys".into()), None));
        for wanted in ["from 1 to 2 is", "from 1 to 255 is", "from 2 to 5 is", "y or n is wanted"] {
            assert!(told.contains(wanted), "{told}");
        }
    }

    #[test]
    fn what_options_say_is_not_asked() {
        let (outcome, args, told) = asked(&["--age", "--no-passphrase", "--page", "p.html"], "keys\n");
        outcome.unwrap();
        assert!(args.age && args.page == Some("p.html".into()) && args.output == Some("keys".into()));
        assert_eq!(told, "Folder for the files [sealedlog-keys]: ");
    }

    #[test]
    fn the_end_of_input_makes_no_key() {
        for answers in ["", "1\n", "1\n\n", "2\n1\n", "2\n1\nkeys\n"] {
            assert!(asked(&[], answers).0.is_err(), "{answers:?}");
        }
    }
}
