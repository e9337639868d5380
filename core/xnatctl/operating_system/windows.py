"""Calls of the Windows API that the standard library does not offer. Imported on Windows only."""

from __future__ import annotations

import sys

if sys.platform == "win32":
    import ctypes
    import errno
    import msvcrt
    import os
    import re
    import stat
    from ctypes import wintypes
    from typing import Any, Final

    _kernel32 = ctypes.WinDLL("kernel32", use_last_error=True)
    _advapi32 = ctypes.WinDLL("advapi32", use_last_error=True)

    _GENERIC_READ, _GENERIC_WRITE, _READ_CONTROL = 0x80000000, 0x40000000, 0x00020000
    _FILE_APPEND_DATA = 0x0004
    #: Other programs may read, write, rename and delete the file.
    _SHARE_ALL = 0x7
    _CREATE_NEW, _OPEN_EXISTING = 1, 3
    _NORMAL, _OPEN_REPARSE_POINT = 0x80, 0x00200000
    _INVALID = ctypes.c_void_p(-1).value
    #: Full access for the owner, the system and administrators, and for no one else.
    _PRIVATE = "D:P(A;;FA;;;OW)(A;;FA;;;SY)(A;;FA;;;BA)"
    _SDDL_REVISION, _SE_FILE_OBJECT, _DACL = 1, 1, 0x4
    #: Groups that include other people: everyone, (authenticated, interactive, network, anonymous) users, guests.
    _BROAD: Final = frozenset({"WD", "AU", "BU", "BG", "IU", "NU", "AN", "DU", "DG", "S-1-1-0", "S-1-5-11"})
    _ALLOWED = re.compile(r"\((?:A|OA);[^;]*;([^;]*);[^;]*;[^;]*;([^;)]*)\)")
    _VIRTUAL_TERMINAL = 0x0004

    class _SecurityAttributes(ctypes.Structure):
        _fields_ = (
            ("length", wintypes.DWORD),
            ("descriptor", wintypes.LPVOID),
            ("inherit", wintypes.BOOL),
        )

    _kernel32.CreateFileW.restype = wintypes.HANDLE
    _kernel32.CreateFileW.argtypes = [
        wintypes.LPCWSTR, wintypes.DWORD, wintypes.DWORD, wintypes.LPVOID, wintypes.DWORD, wintypes.DWORD,
        wintypes.HANDLE,
    ]  # fmt: skip
    _kernel32.LocalFree.argtypes = [wintypes.LPVOID]
    _kernel32.GetStdHandle.restype = wintypes.HANDLE
    _kernel32.GetConsoleMode.argtypes = [wintypes.HANDLE, wintypes.LPDWORD]
    _kernel32.SetConsoleMode.argtypes = [wintypes.HANDLE, wintypes.DWORD]
    _advapi32.ConvertStringSecurityDescriptorToSecurityDescriptorW.argtypes = [
        wintypes.LPCWSTR, wintypes.DWORD, ctypes.POINTER(wintypes.LPVOID), wintypes.LPVOID,
    ]  # fmt: skip
    _advapi32.ConvertSecurityDescriptorToStringSecurityDescriptorW.argtypes = [
        wintypes.LPVOID, wintypes.DWORD, wintypes.DWORD, ctypes.POINTER(wintypes.LPWSTR), wintypes.LPVOID,
    ]  # fmt: skip
    _advapi32.GetSecurityInfo.argtypes = [
        wintypes.HANDLE, wintypes.DWORD, wintypes.DWORD, wintypes.LPVOID, wintypes.LPVOID, wintypes.LPVOID,
        wintypes.LPVOID, ctypes.POINTER(wintypes.LPVOID),
    ]  # fmt: skip

    def _failed(path: str | None = None) -> OSError:
        return ctypes.WinError(ctypes.get_last_error()) if path is None else _named(ctypes.get_last_error(), path)

    def _named(code: int, path: str) -> OSError:
        return OSError(None, ctypes.FormatError(code).strip().rstrip("."), path, code)

    def _create(path: str, access: int, disposition: int, flags: int, security: Any = None) -> int:
        """A handle, or an OSError with `winerror`."""
        handle = _kernel32.CreateFileW(path, access, _SHARE_ALL, security, disposition, flags, None)
        if handle is None or handle == _INVALID:
            raise _failed(path)
        return int(handle)

    def open_to_read(path: str, *, follow: bool) -> int:
        """See `files.open_to_read`."""
        flags = _NORMAL if follow else _NORMAL | _OPEN_REPARSE_POINT
        handle = _create(path, _GENERIC_READ, _OPEN_EXISTING, flags)
        descriptor = msvcrt.open_osfhandle(handle, os.O_RDONLY | os.O_BINARY | os.O_NOINHERIT)
        if not follow and os.fstat(descriptor).st_file_attributes & stat.FILE_ATTRIBUTE_REPARSE_POINT:
            os.close(descriptor)
            raise OSError(errno.ELOOP, "it is a symbolic link", path)
        return descriptor

    def create_private(path: str, flags: int) -> int:
        """See `private.create_private`."""
        descriptor = wintypes.LPVOID()
        if not _advapi32.ConvertStringSecurityDescriptorToSecurityDescriptorW(
            _PRIVATE, _SDDL_REVISION, ctypes.byref(descriptor), None
        ):
            raise _failed()
        try:
            security = _SecurityAttributes(ctypes.sizeof(_SecurityAttributes), descriptor, False)
            access = _GENERIC_WRITE | (_GENERIC_READ if flags & os.O_RDWR else _READ_CONTROL)
            handle = _create(path, access, _CREATE_NEW, _NORMAL, ctypes.byref(security))
        finally:
            _kernel32.LocalFree(descriptor)
        kept = flags & (os.O_RDWR | os.O_WRONLY | os.O_APPEND)
        return msvcrt.open_osfhandle(handle, kept | os.O_BINARY | os.O_NOINHERIT)

    def is_open_to_others(file: int) -> bool:
        """True if a group that includes other people may read or write an open file."""
        descriptor = wintypes.LPVOID()
        code = _advapi32.GetSecurityInfo(
            msvcrt.get_osfhandle(file), _SE_FILE_OBJECT, _DACL, None, None, None, None, ctypes.byref(descriptor)
        )
        if code:
            return False  # a file system without access control lists
        try:
            text = wintypes.LPWSTR()
            if not _advapi32.ConvertSecurityDescriptorToStringSecurityDescriptorW(
                descriptor, _SDDL_REVISION, _DACL, ctypes.byref(text), None
            ):
                raise _failed()
            try:
                granted = _ALLOWED.findall(text.value or "")
            finally:
                _kernel32.LocalFree(text)
        finally:
            _kernel32.LocalFree(descriptor)
        return any(rights and who in _BROAD for rights, who in granted)

    def enable_colors(file: int) -> bool:
        """Let a console obey escape sequences; False for one that cannot, and for a file that is no console."""
        mode, handle = wintypes.DWORD(), msvcrt.get_osfhandle(file)
        if not _kernel32.GetConsoleMode(handle, ctypes.byref(mode)):
            return False
        return bool(_kernel32.SetConsoleMode(handle, mode.value | _VIRTUAL_TERMINAL))
