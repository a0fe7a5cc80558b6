"""Settings to change where a model's texts leave too little to learn from, as `--set` takes them."""

from conf.schema import Config

BASE_PROMPTS = "conf/prompts/base.yaml"
WARMEST = 1.3  # temperature above which most models write noise

Settings = tuple[str, ...]


def longer_responses(config: Config, positions: int | None = None) -> Settings:
    """Twice the length of a response, and the context for it; nothing where the model has fewer `positions`.

    >>> longer_responses(Config())
    ('sampling.max_tokens=192', 'model.max_length=352')
    """
    longest, context = 2 * config.sampling.max_tokens, config.model.max_length + config.sampling.max_tokens
    fits = positions is None or context <= positions
    return (f"sampling.max_tokens={longest}", f"model.max_length={context}") if fits else ()


def warmer(config: Config) -> Settings:
    """A higher temperature, for more variety; nothing where it is as high as it may be.

    >>> warmer(Config())
    ('sampling.temperature=1.2',)
    """
    temperature = min(WARMEST, round(config.sampling.temperature + 0.2, 2))
    return (f"sampling.temperature={temperature:g}",) if temperature > config.sampling.temperature else ()
