"""Archive files as their tools write them."""

from __future__ import annotations

import io
import tarfile
import zipfile


def packed(kind, members, *, stored=False, folders=()):
    out = io.BytesIO()
    if kind == "zip":
        with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED if stored else zipfile.ZIP_DEFLATED) as archive:
            for folder in folders:
                archive.mkdir(folder)
            for name, data in members.items():
                archive.writestr(name, data)
    else:
        with tarfile.open(
            fileobj=out, mode="w:gz" if kind in ("tgz", "tar.gz") else "w", format=tarfile.GNU_FORMAT
        ) as archive:
            for folder in folders:
                info = tarfile.TarInfo(folder)
                info.type = tarfile.DIRTYPE
                archive.addfile(info)
            for name, data in members.items():
                info = tarfile.TarInfo(name)
                info.size = len(data)
                archive.addfile(info, io.BytesIO(data))
    return out.getvalue()
