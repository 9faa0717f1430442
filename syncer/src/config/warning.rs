//! What a config allows and an operator should know of: said at the start, by `validate`, and in the status for as long
//! as it is so.

use std::path::Path;

use super::Config;
use crate::credential::exposed_mode;
use crate::credential::token::Token;
use crate::http::Api;

/// Lists all warnings, in the order of the blocks. `path` is the config's own file.
pub(super) fn warnings(config: &Config, path: &Path) -> Vec<String> {
    let mut warnings = Vec::new();
    let apis = [
        ("consul", Some(&config.consul)),
        ("nomad", config.nomad.as_ref()),
    ];
    for (block, api) in apis {
        let Some(api) = api else { continue };
        warnings.extend(in_clear(block, api));
        warnings.extend(exposed_token(block, api, path));
        let key = api.tls.identity.as_ref().map(|files| &files.key_file);
        warnings.extend(key.and_then(|key| exposed(&format!("{block}.tls.key_file"), key)));
    }
    let addresses = [config.status];
    for address in addresses.into_iter().flatten() {
        if !address.ip().to_canonical().is_loopback() {
            warnings.push(format!(
                "status.listen {address} is not on loopback: whoever reaches it reads the status, for nobody is asked who they are"
            ));
        }
    }
    if let Some(hints) = &config.hints {
        match &hints.tls {
            Some(tls) => warnings.extend(exposed("hints.tls.key_file", &tls.key_file)),
            None => warnings.push(
                "hints.insecure = true: whoever reaches the network of the hints reads them, and makes them".to_owned(),
            ),
        }
    }
    warnings
}

fn in_clear(block: &str, api: &Api) -> Option<String> {
    let sent = api.token.is_some() && api.address.is_in_clear();
    sent.then(|| {
        format!(
            "{block}: the token goes to {} in clear: whoever is on the way reads it; use https://",
            api.address
        )
    })
}

fn exposed_token(block: &str, api: &Api, config: &Path) -> Option<String> {
    match api.token.as_ref()? {
        Token::Inline(_) => exposed(&format!("{block}.token stands in"), config),
        Token::File(file) => exposed(&format!("{block}.token_file"), file),
        Token::Resolved(_) => None,
    }
}

fn exposed(what: &str, file: &Path) -> Option<String> {
    let mode = exposed_mode(file)?;
    Some(format!(
        "{what} {}: others than its owner may read it (mode {mode:04o}); chmod 600",
        file.display()
    ))
}
