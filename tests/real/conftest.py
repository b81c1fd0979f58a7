"""What several tests on real servers share."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import boto3
import pytest

from flask_s3handoff.policies import Statement, document
from tests.servers import S3Server
from tests.servers.rgw import GUEST


def abort_uploads(server: S3Server, name: str) -> list[str]:
    """Drop the unfinished uploads of a bucket, and return their keys."""
    uploads = server.client.list_multipart_uploads(Bucket=name).get("Uploads", [])
    for upload in uploads:
        named = {"Key": upload["Key"], "UploadId": upload["UploadId"]}
        server.client.abort_multipart_upload(Bucket=name, **named)
    return [upload["Key"] for upload in uploads]


@pytest.fixture
def allow(rgw: S3Server) -> Iterator[Any]:
    """Give a policy to a user who owns nothing, and may do nothing else; take it away again."""
    iam = boto3.client(
        "iam",
        endpoint_url=rgw.url,
        aws_access_key_id=rgw.access_key,
        aws_secret_access_key=rgw.secret_key,
        region_name=rgw.region,
    )

    def give(statements: list[Statement]) -> None:
        policy = document(statements)
        policy["Statement"].append(nothing_else(statements))
        iam.put_user_policy(UserName=GUEST, PolicyName="p", PolicyDocument=json.dumps(policy))

    give([])
    yield give
    iam.delete_user_policy(UserName=GUEST, PolicyName="p")


def nothing_else(statements: list[Statement]) -> dict[str, Any]:
    """Deny what is not allowed: Ceph lets a writer read what he wrote by its ACL, Amazon has none.

    Ceph 16 makes nothing of `NotAction`, so what an ACL could give is named.
    """
    allowed = {action for statement in statements for action in statement.actions}
    by_acl = {"s3:GetObject", "s3:GetObjectAcl", "s3:PutObjectAcl", "s3:PutBucketPolicy"}
    return {"Effect": "Deny", "Action": sorted(by_acl - allowed), "Resource": "*"}
