"""A live OCPI 2.2.1 platform of the package extrawest-ocpi, in a process and an environment of its own.

Run by another interpreter than the tests': ``EXTRAWEST_PYTHON tests/support/extrawest_platform.py PORT TOKEN_A FILE``.
The file has objects by module, as JSON. What others send is printed, one line of JSON each.
"""

# ruff: noqa: A002, ARG003, T201 - the package names these arguments, and what is printed is read

import asyncio
import json
import os
import sys
import uuid

PORT, TOKEN_A, FILE = int(sys.argv[1]), sys.argv[2], sys.argv[3]
# Read when the package is imported.
os.environ.update(
    OCPI_HOST=f"127.0.0.1:{PORT}", PROTOCOL="http", COUNTRY_CODE="DE", PARTY_ID="GEF", ENVIRONMENT="testing"
)

import uvicorn  # noqa: E402
from py_ocpi import get_application  # noqa: E402
from py_ocpi.core.authentication.authenticator import Authenticator  # noqa: E402
from py_ocpi.core.crud import Crud  # noqa: E402
from py_ocpi.core.enums import Action, ModuleID, RoleEnum  # noqa: E402
from py_ocpi.modules.versions.enums import VersionNumber  # noqa: E402

with open(FILE) as file:  # noqa: PTH123 - nothing but the package
    OBJECTS = json.load(file)
INVITATIONS, PARTNERS = {TOKEN_A}, {}
CREDENTIALS = ModuleID.credentials_and_registration


def show(what, **members):
    print(json.dumps({"what": what, **members}, default=str), flush=True)


def own_credentials(token):
    details = {"name": "extrawest", "website": None, "logo": None}
    role = {"role": "CPO", "party_id": "GEF", "country_code": "DE", "business_details": details}
    return {"token": token, "url": f"http://127.0.0.1:{PORT}/ocpi/versions", "roles": [role]}


def rows(module):
    return OBJECTS.setdefault(module.value, [])


def find(module, key):
    name = "uid" if module is ModuleID.tokens else "id"
    return next((row for row in rows(module) if str(row[name]).lower() == str(key).lower()), None)


class Tokens(Authenticator):
    @classmethod
    async def get_valid_token_c(cls):
        return list(PARTNERS)

    @classmethod
    async def get_valid_token_a(cls):
        return list(INVITATIONS)


class Memory(Crud):
    @classmethod
    async def get(cls, module, role, id, *args, **more):
        if module is CREDENTIALS:
            return own_credentials(more.get("auth_token", ""))
        if module is ModuleID.commands:
            await asyncio.sleep(0.2)
            return {"result": "ACCEPTED", "message": []}
        return find(module, id)

    @classmethod
    async def list(cls, module, role, filters, *args, **more):
        found, offset, limit = rows(module), filters["offset"], filters["limit"]
        return found[offset : offset + limit], len(found), offset + limit >= len(found)

    @classmethod
    async def create(cls, module, role, data, *args, **more):
        if module is CREDENTIALS:
            INVITATIONS.discard(more.get("auth_token"))
            return cls._register(data)
        show("create", module=module.value, data=data)
        rows(module).append(json.loads(json.dumps(data, default=str)))
        return data

    @classmethod
    async def update(cls, module, role, data, id, *args, **more):
        if module is CREDENTIALS:
            PARTNERS.pop(more.get("auth_token"), None)
            return cls._register(data)
        show("update", module=module.value, id=str(id), data=data)
        row = find(module, id)
        if row is None:
            rows(module).append(data)
            return data
        row.update(data)
        return row

    @classmethod
    def _register(cls, data):
        token = f"c-{uuid.uuid4().hex}"
        PARTNERS[token] = data
        show("registered", roles=data["credentials"]["roles"])
        return own_credentials(token)

    @classmethod
    async def delete(cls, module, role, id, *args, **more):
        show("delete", module=module.value, id=str(id))
        if module is CREDENTIALS:
            PARTNERS.pop(more.get("auth_token"), None)

    @classmethod
    async def do(cls, module, role, action, *args, data=None, **more):
        if action is Action.get_client_token:
            return PARTNERS[more["auth_token"]]["credentials"]["token"]
        show("command", command=str(more.get("command")), data=data)
        return {"result": "ACCEPTED", "timeout": 30, "message": []}


application = get_application(
    version_numbers=[VersionNumber.v_2_2_1],
    roles=[RoleEnum.cpo],
    crud=Memory,
    modules=[
        CREDENTIALS,
        *(ModuleID.locations, ModuleID.sessions, ModuleID.cdrs, ModuleID.tariffs, ModuleID.tokens),
        ModuleID.commands,
    ],
    authenticator=Tokens,
)
uvicorn.run(application, host="127.0.0.1", port=PORT, log_level="warning")
