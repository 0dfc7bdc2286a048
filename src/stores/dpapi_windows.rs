//! Secrets that Windows encrypts (DPAPI, `CryptProtectData`), with the machine's key: a file that is copied to another
//! machine, or read from a backup, is of no use there. On this machine the file's access list guards it.
#![expect(unsafe_code, reason = "no safe crate that is kept has these two calls")]

use std::{io, ptr, slice};

use secrecy::zeroize::{Zeroize, Zeroizing};
use windows_sys::Win32::Foundation::LocalFree;
use windows_sys::Win32::Security::Cryptography::{
    CRYPT_INTEGER_BLOB, CRYPTPROTECT_LOCAL_MACHINE, CRYPTPROTECT_UI_FORBIDDEN, CryptProtectData, CryptUnprotectData,
};

use crate::base::secret::Secret;

/// Keeps what other programs have protected apart from what is meant for the gate.
const PURPOSE: &[u8] = b"patgate";

/// A secret as a file may hold it.
///
/// # Errors
/// The operating system's error.
pub fn protected(secret: &Secret) -> io::Result<Vec<u8>> {
    converted(secret.expose().as_bytes(), |data, purpose, into| {
        let flags = CRYPTPROTECT_LOCAL_MACHINE | CRYPTPROTECT_UI_FORBIDDEN;
        // SAFETY: both blobs live over the call; the system allocates the answer.
        unsafe { CryptProtectData(data, ptr::null(), purpose, ptr::null(), ptr::null(), flags, into) }
    })
}

/// The secret of a file.
///
/// # Errors
/// The operating system's error, also where another machine has protected it, or text that is not UTF-8.
pub(super) fn unprotected(blob_of_file: &[u8]) -> io::Result<String> {
    let read = converted(blob_of_file, |data, purpose, into| {
        let flags = CRYPTPROTECT_UI_FORBIDDEN;
        // SAFETY: both blobs live over the call; the system allocates the answer.
        unsafe { CryptUnprotectData(data, ptr::null_mut(), purpose, ptr::null(), ptr::null(), flags, into) }
    });
    let explained = |error: io::Error| {
        let next = "this machine cannot decrypt it; make it here with `patgate service protect`";
        io::Error::other(format!("{next} ({error})"))
    };
    let mut bytes = Zeroizing::new(read.map_err(explained)?);
    String::from_utf8(std::mem::take(&mut *bytes)).map_err(|error| {
        error.into_bytes().zeroize();
        io::Error::other("it is no text")
    })
}

/// What one of the two calls makes of these bytes.
fn converted(
    bytes: &[u8],
    call: impl FnOnce(&CRYPT_INTEGER_BLOB, &CRYPT_INTEGER_BLOB, &mut CRYPT_INTEGER_BLOB) -> i32,
) -> io::Result<Vec<u8>> {
    let mut into = CRYPT_INTEGER_BLOB { cbData: 0, pbData: ptr::null_mut() };
    let done = call(&blob(bytes)?, &blob(PURPOSE)?, &mut into);
    taken(done, into)
}

fn blob(bytes: &[u8]) -> io::Result<CRYPT_INTEGER_BLOB> {
    let length = u32::try_from(bytes.len()).map_err(io::Error::other)?;
    // The calls only read what they are given.
    Ok(CRYPT_INTEGER_BLOB { cbData: length, pbData: bytes.as_ptr().cast_mut() })
}

/// Copies what the system allocated, wipes it and gives it back.
fn taken(done: i32, from: CRYPT_INTEGER_BLOB) -> io::Result<Vec<u8>> {
    if done == 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the call succeeded, so that the answer is that long; it is freed once.
    unsafe {
        let content = slice::from_raw_parts_mut(from.pbData, from.cbData as usize);
        let copy = content.to_vec();
        content.zeroize();
        LocalFree(from.pbData.cast());
        Ok(copy)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_protected_comes_back_and_is_not_in_the_file() {
        let file = protected(&Secret::new("canary-1".into())).unwrap();
        assert_eq!(unprotected(&file).unwrap(), "canary-1");
        // Wine's DPAPI is a stand-in that keeps the text readable; that the file hides it shows on Windows alone.
        let mut damaged = file.clone();
        damaged.truncate(file.len() / 2);
        let refused = unprotected(&damaged).unwrap_err().to_string();
        assert!(refused.contains("patgate service protect") && !refused.contains("canary"), "{refused}");
    }
}
