"""A deployed function's definition, in the shapes that the client and the container expect. Knows no state."""

from google.protobuf.json_format import MessageToDict, ParseDict  # type: ignore[import-untyped]
from modal_proto import api_pb2 as pb

# modal.com/docs/guide/gpu; A10G is the older name of A10. The client accepts any string, so a list is needed.
KNOWN_GPUS = frozenset(
    {"T4", "L4", "A10", "A10G", "L40S", "A100", "A100-40GB", "A100-80GB", "RTX-PRO-6000"}
    | {"H100", "H100!", "H200", "B200", "B200+"}
)


def variants(request: pb.FunctionCreateRequest) -> list[pb.Function]:
    """The definition once per acceptable GPU: `gpu=["L40S", "A10"]` gives two, preferred first, else one."""
    if request.function_data.ranked_functions:
        return [ranked.function for ranked in request.function_data.ranked_functions]
    return [request.function]


def as_function_data(request: pb.FunctionCreateRequest) -> pb.FunctionData:
    """The definition in the shape that the client reads back; the fields of the two shapes share their names."""
    if request.function_data.ranked_functions:
        return request.function_data
    fields = MessageToDict(request.function, preserving_proto_field_name=True)
    data = pb.FunctionData()
    ParseDict(fields, data, ignore_unknown_fields=True)
    data.ranked_functions.add(rank=0).function.CopyFrom(request.function)
    return data


def unknown_gpus(request: pb.FunctionCreateRequest) -> list[str]:
    """GPU names that Modal's documentation does not list."""
    configs = [function.resources.gpu_config for function in variants(request)]
    return [config.gpu_type for config in configs if config.count and config.gpu_type not in KNOWN_GPUS]


def web_url(workspace: str, app_name: str, function_name: str, webhook: pb.WebhookConfig) -> str:
    """The address of a web function, or "" when it is not one."""
    if not webhook.type:
        return ""
    return f"https://{workspace}--{_label(webhook.requested_suffix or f'{app_name}-{function_name}')}.modal.run"


def server_urls(workspace: str, app_name: str, function: pb.Function) -> list[str]:
    """The address of an `@app.server`, or nothing when it is not one."""
    if not function.http_config.port:
        return []
    region = function.http_config.proxy_regions[0] if function.http_config.proxy_regions else "us-east"
    return [f"https://{workspace}--{_label(f'{app_name}-{function.function_name}')}.{region}.modal.direct"]


def _label(name: str) -> str:
    return name.lower().replace(".", "-").replace("_", "-")


def handle_metadata(
    definition: pb.Function | pb.FunctionPrecreateRequest, function_id: str, app_id: str, app_name: str, workspace: str
) -> pb.FunctionHandleMetadata:
    """What a handle on the function knows, with one entry per method of a class."""
    metadata = pb.FunctionHandleMetadata(
        function_name=definition.function_name,
        function_type=definition.function_type,
        web_url=web_url(workspace, app_name, definition.function_name, definition.webhook_config),
        definition_id=f"de-{function_id}",
        app_id=app_id,
    )
    for name, method in definition.method_definitions.items():
        metadata.method_handle_metadata[name].CopyFrom(
            pb.FunctionHandleMetadata(
                function_name=method.function_name,
                function_type=method.function_type,
                web_url=web_url(workspace, app_name, method.function_name, method.webhook_config),
                is_method=True,
                use_method_name=name,
                app_id=app_id,
            )
        )
    return metadata
