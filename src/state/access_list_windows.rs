//! Access lists of Windows: who may read and write a file or a directory.
//!
//! What is private belongs to the system, the administrators and one account, as OpenSSH for Windows wants it of keys:
//! an administrator may take every file anyway. The list is protected, so that nothing is inherited from above; what is
//! made in a private directory inherits its list.
#![expect(unsafe_code, reason = "no safe crate that is kept reads and writes access lists")]

use std::io;
use std::os::windows::ffi::OsStrExt;
use std::path::Path;
use std::ptr;

use windows_sys::Win32::Foundation::ERROR_SUCCESS;
use windows_sys::Win32::Security::Authorization::{
    ConvertStringSecurityDescriptorToSecurityDescriptorW, EXPLICIT_ACCESS_W, GRANT_ACCESS, GetNamedSecurityInfoW,
    NO_MULTIPLE_TRUSTEE, SDDL_REVISION_1, SE_FILE_OBJECT, SetEntriesInAclW, SetNamedSecurityInfoW, TRUSTEE_IS_SID,
    TRUSTEE_IS_UNKNOWN, TRUSTEE_W,
};
use windows_sys::Win32::Security::{
    ACCESS_ALLOWED_ACE, ACE_HEADER, ACL, DACL_SECURITY_INFORMATION, GetAce, GetSecurityDescriptorDacl,
    INHERIT_ONLY_ACE, NO_INHERITANCE, OWNER_SECURITY_INFORMATION, PROTECTED_DACL_SECURITY_INFORMATION,
    PSECURITY_DESCRIPTOR, PSID, SECURITY_ATTRIBUTES, SUB_CONTAINERS_AND_OBJECTS_INHERIT,
};
use windows_sys::Win32::Storage::FileSystem::{
    CreateDirectoryW, DELETE, FILE_GENERIC_EXECUTE, FILE_GENERIC_READ, FILE_GENERIC_WRITE,
};

use super::account::{ADMINISTRATORS, Account, Allocated, SYSTEM, wide};
use super::gate_accounts::gate_accounts;

/// ACCESS_ALLOWED_ACE_TYPE (Win32, ACE_HEADER).
const ALLOWED: u8 = 0;
/// FILE_READ_DATA, GENERIC_READ, GENERIC_ALL (Win32, file access rights).
const READ: u32 = 0x1 | 0x8000_0000 | 0x1000_0000;
/// FILE_WRITE_DATA, FILE_APPEND_DATA, FILE_DELETE_CHILD, DELETE, WRITE_DAC, WRITE_OWNER, GENERIC_WRITE, GENERIC_ALL.
const WRITE: u32 = 0x2 | 0x4 | 0x40 | 0x1_0000 | 0x4_0000 | 0x8_0000 | 0x4000_0000 | 0x1000_0000;
/// CREATOR OWNER and OWNER RIGHTS: the owner under another name.
const OWNERS: [&str; 2] = ["S-1-3-0", "S-1-3-4"];

/// Somebody who may read or write what is private.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stranger {
    /// Who.
    pub account: Account,
    /// Whether it may read.
    pub reads: bool,
    /// Whether it may write, or give itself the right to.
    pub writes: bool,
}

/// Makes a file or a directory private: for the system, the administrators and these accounts, by SID.
///
/// # Errors
/// The operating system's error.
pub fn restrict(path: &Path, accounts: &[&str]) -> io::Result<()> {
    let descriptor = private("", accounts, path.is_dir())?;
    let (mut present, mut list, mut defaulted) = (0, ptr::null_mut(), 0);
    // SAFETY: the descriptor is valid; the list lies in it and is used while it lives.
    unsafe {
        if GetSecurityDescriptorDacl(descriptor.0, &mut present, &mut list, &mut defaulted) == 0 {
            return Err(io::Error::last_os_error());
        }
        set(path, list, PROTECTED_DACL_SECURITY_INFORMATION)
    }
}

/// Gives a directory to the administrators, and takes it from the user who made it in an ordinary prompt.
///
/// # Errors
/// The operating system's error, where this process is not elevated.
pub fn give_to_administrators(path: &Path) -> io::Result<()> {
    let sid = Allocated::sid(ADMINISTRATORS)?;
    // SAFETY: the path ends with a zero; the SID lives over the call.
    done(unsafe {
        SetNamedSecurityInfoW(
            path_of(path).as_ptr().cast_mut(),
            SE_FILE_OBJECT,
            OWNER_SECURITY_INFORMATION,
            sid.0,
            ptr::null_mut(),
            ptr::null(),
            ptr::null(),
        )
    })
}

/// Makes a private directory, with an owner in SDDL (`O:BA`) or this process's.
///
/// # Errors
/// The operating system's error.
pub(super) fn make_directory(path: &Path, owner: &str, accounts: &[&str]) -> io::Result<()> {
    let descriptor = private(owner, accounts, true)?;
    let attributes = SECURITY_ATTRIBUTES {
        nLength: size_of::<SECURITY_ATTRIBUTES>() as u32,
        lpSecurityDescriptor: descriptor.0,
        bInheritHandle: 0,
    };
    // SAFETY: the path ends with a zero; the descriptor lives over the call.
    match unsafe { CreateDirectoryW(path_of(path).as_ptr(), &attributes) } {
        0 => Err(io::Error::last_os_error()),
        _made => Ok(()),
    }
}

/// Who owns a file or a directory.
///
/// # Errors
/// The operating system's error.
pub(super) fn owner(path: &Path) -> io::Result<Account> {
    let security = Security::of(path)?;
    // SAFETY: the owner lives as long as `security`.
    unsafe { Account::of_sid(security.owner) }
}

/// The descriptor of what is private.
fn private(owner: &str, accounts: &[&str], is_directory: bool) -> io::Result<Allocated> {
    let inherited = if is_directory { "OICI" } else { "" };
    let entries = [SYSTEM, ADMINISTRATORS].iter().chain(accounts).map(|sid| format!("(A;{inherited};FA;;;{sid})"));
    let text = format!("{owner}D:P{}", entries.collect::<String>());
    let mut descriptor: PSECURITY_DESCRIPTOR = ptr::null_mut();
    // SAFETY: the text ends with a zero; the system allocates the descriptor, which `Allocated` frees.
    let read = unsafe {
        ConvertStringSecurityDescriptorToSecurityDescriptorW(
            wide(&text).as_ptr(),
            SDDL_REVISION_1,
            &mut descriptor,
            ptr::null_mut(),
        )
    };
    if read == 0 { Err(io::Error::last_os_error()) } else { Ok(Allocated(descriptor)) }
}

/// What an account may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Right {
    /// Read, and list a directory.
    Read,
    /// Also write, make and remove.
    Write,
}

/// Lets an account, by SID, read or write a file, or a directory and what is in it, beside those who may already.
///
/// # Errors
/// The operating system's error.
pub fn grant(path: &Path, sid: &str, right: Right) -> io::Result<()> {
    let security = Security::of(path)?;
    if security.list.is_null() {
        // Everybody may do everything; a list would take it from them.
        return Ok(());
    }
    let (account, mut new) = (Allocated::sid(sid)?, ptr::null_mut());
    // SAFETY: SID and old list live over the calls; the system allocates the new list, which `Allocated` frees.
    unsafe {
        let entry = EXPLICIT_ACCESS_W {
            grfAccessPermissions: match right {
                Right::Read => FILE_GENERIC_READ | FILE_GENERIC_EXECUTE,
                Right::Write => FILE_GENERIC_READ | FILE_GENERIC_EXECUTE | FILE_GENERIC_WRITE | DELETE,
            },
            grfAccessMode: GRANT_ACCESS,
            grfInheritance: if path.is_dir() { SUB_CONTAINERS_AND_OBJECTS_INHERIT } else { NO_INHERITANCE },
            Trustee: TRUSTEE_W {
                pMultipleTrustee: ptr::null_mut(),
                MultipleTrusteeOperation: NO_MULTIPLE_TRUSTEE,
                TrusteeForm: TRUSTEE_IS_SID,
                TrusteeType: TRUSTEE_IS_UNKNOWN,
                ptstrName: account.0.cast(),
            },
        };
        done(SetEntriesInAclW(1, &entry, security.list, &mut new))?;
        let _new = Allocated(new.cast());
        // What is inherited from above stays so.
        set(path, new, 0)
    }
}

/// Gives a file the access list of another, as its own: nothing is inherited then.
///
/// # Errors
/// The operating system's error.
pub fn copy(from: &Path, to: &Path) -> io::Result<()> {
    let security = Security::of(from)?;
    // SAFETY: the list lives as long as `security`.
    unsafe { set(to, security.list, PROTECTED_DACL_SECURITY_INFORMATION) }
}

/// Sets a list; with PROTECTED_DACL_SECURITY_INFORMATION one that inherits nothing.
///
/// # Safety
/// The list is null or valid.
unsafe fn set(path: &Path, list: *const ACL, how: u32) -> io::Result<()> {
    // SAFETY: the path ends with a zero, and the caller gives a valid list.
    done(unsafe {
        SetNamedSecurityInfoW(
            path_of(path).as_ptr().cast_mut(),
            SE_FILE_OBJECT,
            DACL_SECURITY_INFORMATION | how,
            ptr::null_mut(),
            ptr::null_mut(),
            list,
            ptr::null(),
        )
    })
}

/// Who may read or write a file beside the system, the administrators, its owner, this process's account and the gates
/// of this machine.
///
/// # Errors
/// The operating system's error, also where this process may not see the list.
pub fn strangers(path: &Path) -> io::Result<Vec<Stranger>> {
    beside_ours(path, false)
}

/// The same of what will be made in a directory, to which entries are handed on that are not its own.
///
/// # Errors
/// The operating system's error, also where this process may not see the list.
pub(super) fn strangers_below(path: &Path) -> io::Result<Vec<Stranger>> {
    beside_ours(path, true)
}

fn beside_ours(path: &Path, handed_on: bool) -> io::Result<Vec<Stranger>> {
    let security = Security::of(path)?;
    if security.list.is_null() {
        // Without a list everybody may do everything (Win32, null DACLs).
        return Ok(vec![Stranger { account: Account::known("S-1-1-0"), reads: true, writes: true }]);
    }
    // SAFETY: the owner lives as long as `security`.
    let owner = unsafe { Account::of_sid(security.owner) }?;
    let (own, gates) = (Account::own()?, gate_accounts());
    let expected = |sid: &str| {
        [SYSTEM, ADMINISTRATORS, &owner.sid, &own.sid].contains(&sid)
            || OWNERS.contains(&sid)
            || gates.iter().any(|gate| gate == sid)
    };
    // SAFETY: the list lives as long as `security`.
    let entries = unsafe { entries(security.list, handed_on) }?;
    let stranger = |(account, mask): (Account, u32)| {
        let (reads, writes) = (mask & READ != 0, mask & WRITE != 0);
        (!expected(&account.sid) && (reads || writes)).then_some(Stranger { account, reads, writes })
    };
    Ok(entries.into_iter().filter_map(stranger).collect())
}

/// The accounts, by SID, that a file's list allows something.
///
/// # Errors
/// The operating system's error.
pub(super) fn allowed(path: &Path) -> io::Result<Vec<String>> {
    let security = Security::of(path)?;
    if security.list.is_null() {
        return Ok(Vec::new());
    }
    // SAFETY: the list lives as long as `security`.
    let entries = unsafe { entries(security.list, false) }?;
    Ok(entries.into_iter().map(|(account, _)| account.sid).collect())
}

/// The accounts that a list allows something, with what; also those for what is made below alone, if that is asked.
///
/// # Safety
/// The list is valid.
unsafe fn entries(list: *const ACL, handed_on: bool) -> io::Result<Vec<(Account, u32)>> {
    let mut found = Vec::new();
    // SAFETY: the list is valid, so that every entry below its count is; an entry that allows has the SID at its end.
    unsafe {
        for at in 0..u32::from((*list).AceCount) {
            let mut entry = ptr::null_mut();
            if GetAce(list, at, &mut entry) == 0 {
                return Err(io::Error::last_os_error());
            }
            let header = &*entry.cast::<ACE_HEADER>();
            let is_of_it = handed_on || u32::from(header.AceFlags) & INHERIT_ONLY_ACE == 0;
            if header.AceType == ALLOWED && is_of_it {
                let allowed = entry.cast::<ACCESS_ALLOWED_ACE>();
                let sid = (&raw mut (*allowed).SidStart).cast();
                found.push((Account::of_sid(sid)?, (*allowed).Mask));
            }
        }
    }
    Ok(found)
}

/// The owner and the list of a file; both lie in what the system allocated.
struct Security {
    owner: PSID,
    list: *mut ACL,
    _descriptor: Allocated,
}

impl Security {
    fn of(path: &Path) -> io::Result<Self> {
        let (mut owner, mut list, mut descriptor) = (ptr::null_mut(), ptr::null_mut(), ptr::null_mut());
        // SAFETY: the path ends with a zero; the system allocates the descriptor, in which owner and list lie.
        let code = unsafe {
            GetNamedSecurityInfoW(
                path_of(path).as_ptr(),
                SE_FILE_OBJECT,
                OWNER_SECURITY_INFORMATION | DACL_SECURITY_INFORMATION,
                &mut owner,
                ptr::null_mut(),
                &mut list,
                ptr::null_mut(),
                &mut descriptor,
            )
        };
        done(code)?;
        Ok(Self { owner, list, _descriptor: Allocated(descriptor) })
    }
}

fn path_of(path: &Path) -> Vec<u16> {
    path.as_os_str().encode_wide().chain([0]).collect()
}

fn done(code: u32) -> io::Result<()> {
    match code {
        ERROR_SUCCESS => Ok(()),
        failed => Err(io::Error::from_raw_os_error(failed.cast_signed())),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Wine keeps Unix modes in place of access lists, and gives everybody what it gives the administrators: there the
    /// calls are made, and only Windows shows what comes of them.
    fn under_wine() -> bool {
        windows_registry::LOCAL_MACHINE.open(r"SOFTWARE\Wine").is_ok()
    }

    /// Those who are strangers, where the system tells the truth.
    pub(in crate::state) fn told(path: &Path) -> Vec<String> {
        let all = strangers(path).unwrap().into_iter().map(|one| one.account.sid);
        all.filter(|sid| sid != "S-1-1-0" || !under_wine()).collect()
    }

    #[test]
    fn what_is_private_has_no_stranger() {
        let home = tempfile::tempdir().unwrap();
        let own = Account::own().unwrap();
        let file = home.path().join("key");
        std::fs::write(&file, "secret").unwrap();
        restrict(&file, &[&own.sid]).unwrap();
        assert_eq!(told(&file), [""; 0]);
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "secret", "its own account reads it");
        restrict(home.path(), &[&own.sid]).unwrap();
        assert_eq!(told(home.path()), [""; 0]);
        std::fs::write(home.path().join("new"), "").unwrap();
        assert_eq!(told(&home.path().join("new")), [""; 0], "what is made in it is private too");
        assert!(strangers(&home.path().join("missing")).is_err());
    }

    #[test]
    fn a_file_for_everybody_has_one_and_a_copy_of_its_list_too() {
        let home = tempfile::tempdir().unwrap();
        let [old, new] = ["old", "new"].map(|name| home.path().join(name));
        for file in [&old, &new] {
            std::fs::write(file, "secret").unwrap();
        }
        let own = Account::own().unwrap();
        restrict(&new, &[&own.sid]).unwrap();
        restrict(&old, &["S-1-1-0"]).unwrap();
        copy(&old, &new).unwrap();
        for file in [old, new] {
            let found = strangers(&file).unwrap();
            assert!(found.iter().any(|one| one.account.sid == "S-1-1-0" && one.reads && one.writes), "{found:?}");
        }
    }

    #[test]
    fn who_is_let_in_keeps_those_in_who_were() {
        let home = tempfile::tempdir().unwrap();
        let file = home.path().join("key");
        std::fs::write(&file, "secret").unwrap();
        let own = Account::own().unwrap();
        restrict(&file, &[&own.sid]).unwrap();
        // Guests, who exist everywhere.
        grant(&file, "S-1-5-32-546", Right::Read).unwrap();
        grant(home.path(), "S-1-5-32-546", Right::Write).unwrap();
        if !under_wine() {
            assert_eq!(told(&file), ["S-1-5-32-546"]);
            assert_eq!(strangers(&file).unwrap().iter().map(|one| one.writes).collect::<Vec<_>>(), [false]);
        }
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "secret");
    }
}
