"""The former place of `xnatctl.xnat.client`, until every import names the new one."""

from xnatctl.xnat.client import (
    GET_TIMEOUT as GET_TIMEOUT,
    MAX_ANSWER as MAX_ANSWER,
    MAX_LISTING as MAX_LISTING,
    MOST_KEPT as MOST_KEPT,
    MOST_SHOWN as MOST_SHOWN,
    Response as Response,
    XnatClient as XnatClient,
    url_path as url_path,
)
