//! The rules that the program brings: the files in `rules/`, as they are.
#![forbid(unsafe_code)]

/// Name and content of each file.
pub const FILES: [(&str, &str); 7] = [
    ("accounts.yml", include_str!("../../../rules/accounts.yml")),
    ("mail.yml", include_str!("../../../rules/mail.yml")),
    ("packages.yml", include_str!("../../../rules/packages.yml")),
    ("privileges.yml", include_str!("../../../rules/privileges.yml")),
    ("ssh.yml", include_str!("../../../rules/ssh.yml")),
    ("system.yml", include_str!("../../../rules/system.yml")),
    ("web.yml", include_str!("../../../rules/web.yml")),
];
