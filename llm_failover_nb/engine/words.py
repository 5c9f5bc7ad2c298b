"""What the sentences in an error's body mean, as patterns: the last resort, where no code says it.

The text is in lower case and without what it quotes; every repeat is bounded, since it may be anybody's.
Patterns are put together from the nouns of a matter and the words for what became of it, so that the next
vendor's sentence is known as well. To add one, put the real failure into the tests' corpus first, then the
word where it belongs; a whole sentence only where nothing else will do. The first match wins.
"""

from __future__ import annotations

import functools
import re

__all__ = ["LIMIT_REQUESTED", "patterns"]

LIMIT_REQUESTED = re.compile(
    r"\blimit:? (\d[\d,]{0,14})(?:, used:? \d[\d,]{0,14})?[,;]? {1,2}requested:? (\d[\d,]{0,14})"
)

_KEY = (
    r"(?:(?:api|access|secret|subscription|license)[ _-]?key"
    r"|(?:api|auth|access|bearer|security|authentication|jwt)[ _-]token"
    r"|authorization header|api credentials?)"
)
_OWNER = r"\b(?:account|organi[sz]ation|consumer|team|project|workspace|tenant)"
_PLACE = r"(?:country|region|location|territory)"
_MODEL = r"\b(?:models?|deployment|engine)(?:[ /:]{1,2}(?:'[^'\n]{1,80}'|\S{1,120}))? "

# Up to four words between two that belong together; what is about a rate is not about money.
_FEW = r"(?: (?!rate\b|requests?\b|tokens?\b|plan\b|add\b|per\b)[\w'$.%-]{1,24}){0,4} "
_PAID = (
    r"(?:credits?|balance|funds|points|prepayments?|budget|billing"
    r"|(?:spend|spending|credit|billing) (?:limit|cap))"
)
_GRANTED = rf"(?:{_PAID}|quota|allowance|free (?:tier|trial|quota|plan)|trial|usage limits?|subscription)"
_IS_SPENT = (
    r"(?:exceeded|exhausted|depleted|used up|consumed|reached|insufficient|too low|not enough|overdue"
    r"|empty|negative|expired|ended|run out|ran out|hit|\$0(?:\.0{1,9})?(?!\.?\d))(?!\w)"
)
_WITHOUT = (
    r"\b(?:exceeded|exhausted|depleted|used up|used all|consumed|reached|insufficient|not enough|overdue|hit"
    r"|out of|over|run out of|ran out of|have (?:no|any)|has (?:no|any)|no more|no remaining)"
)
# A budget of tokens, or for thinking, is the request's own.
_NOT_OF_TOKENS = r"(?<!thinking )(?<!reasoning )(?<!token )(?<!tokens )"


def _spent(nouns: str) -> tuple[str, str]:
    """The two ways to say that some of these are used up: they are gone, one is without them."""
    return (rf"\b{_NOT_OF_TOKENS}{nouns}(?:{_FEW}|[ :,]{{1,2}}){_IS_SPENT}", rf"{_WITHOUT}{_FEW}{nouns}\b")


_OUT_OF_MONEY = (
    r"\bno (?:available |remaining )?(?:credits|funds)\b(?! (?:were|was)\b)",
    r"(?:余额|额度|点数|积分|资源包)(?:已经?|已被|均已)?(?:不足|用尽|用完|耗尽)|欠费|请先?充值",
)

_WORDS = (
    (
        "credentials",
        (
            rf"{_OWNER}\b[^.\n]{{0,60}}\b(?:suspended|deactivated|disabled|restricted|banned)\b",
            rf"{_OWNER}\b[^.\n]{{0,60}}\b(?:terminated|closed|locked)\b",
            rf"{_KEY}\b[^.\n]{{0,40}}\b(?:not valid|invalid|not found|expired|leaked|revoked|blocked)\b",
            rf"{_KEY}\b[^.\n]{{0,40}}\b(?:disabled|deleted|missing|incorrect|malformed|required)\b",
            r"\bkey (?:is|was|has been) (?:disabled|revoked|deleted)|could not (?:validate|authenticate)",
            rf"\b(?:invalid|incorrect|wrong|missing|expired|malformed|no|bad)(?: or \w{{1,20}})? {_KEY}\b",
            r"\bsignature expired|does not match the signature|\blogin fail",
            r"(?:密钥|令牌|api ?key)(?:不存在|无效|错误|不正确|已?过期|已?失效|已被?禁用|状态不可用)",
            r"无效的(?:令牌|密钥|api ?key)|(?:账户|账号|帐户|用户)(?:已被|已)?(?:封禁|停用|禁用|冻结)",
        ),
    ),
    (
        "content_filter",
        (
            r"content (?:filter|management polic|polic|moderation|violat|exists risk)",
            r"usage (?:guideline|polic)|considered high risk|flagged (?:as|for) (?:potentially|possible)",
            r"inappropriate content|sensitive (?:information|content|words?|data)|requires moderation",
            r"safety (?:system|check|filter|polic)",
            r"\b(?:input|prompt|content|output|message) (?:was |is |has been )?(?:flagged|blocked)",
            r"敏感|不安全|违规|违禁|内容审核|内容安全|不合规",
        ),
    ),
    (
        "quota",
        (
            *_spent(_GRANTED),
            *_OUT_OF_MONEY,
            r"key limit exceeded|spend(?:ing)? limit|will regain access|(?:purchase|buy) (?:more )?credits",
            r"top up your|please recharge|payment (?:is )?required|only accessible to billed users",
            r"requires? (?:a )?(?:valid )?(?:billing|payment|credit card)",
            r"requires? an? \w{1,20} (?:subscription|plan|account)\b",
            r"(?:配额|免费额度)(?:已经?)?(?:不足|用尽|用完|耗尽|超限)",
        ),
    ),
    (
        "context_length",
        (
            r"\bcontext[ _](?:length|window|size|limit)|reduce the length",
            # Those of a minute or a day are none of this request's.
            r"too many (?:input )?tokens\b(?! per\b)(?![^\n]{0,40}\b(?:wait|try(?:ing)? again))",
            r"\b(?:prompt|input|request|text) (?:is )?too (?:long|large)|payload size exceeds",
            r"token count (?:\(\d{1,12}\) )?exceeds|(?:prompt|input|model token|sequence) (?:length )?limit",
            r"maximum (?:model|prompt|input|sequence|context|token)s? (?:length|size|limit)",
            r"longer than the (?:maximum|context|model)",
            r"(?:上下文|输入|prompt) ?(?:长度)?(?:超长|超过|超出|过长)|超[过出](?:模型)?最大上下文",
        ),
    ),
    (
        "region",
        (
            rf"\b{_PLACE}[^.\n]{{0,20}} (?:is |are )?(?:not supported|unsupported|not available|restricted)",
            rf"not (?:available|supported|accessible|offered) (?:in|from) (?:your|this) {_PLACE}",
            rf"banned the {_PLACE}|(?:地区|区域|国家)暂?(?:不支持|受限)",
        ),
    ),
    (
        "model_gone",
        (
            rf"{_MODEL}(?:does not|doesn't|not) exist",
            rf"{_MODEL}(?:is |was |could )?not (?:be )?(?:found|deployed|loaded|enabled)\b",
            rf"{_MODEL}(?:is|was|has been) (?:decommissioned|deprecated|retired|removed|discontinued)",
            rf"{_MODEL}(?:is|was|has been) (?:no longer \w|sunset|shut down|turned off|disabled)",
            rf"{_MODEL}is not (?:supported|available|allowed)(?=[.!]|\s*$)",
            r"\b(?:invalid|unknown|no such|unrecognized|unsupported) model(?: name| id)?\b(?! \w{1,30}:)",
            r"\bnot a valid model|model identifier is invalid|not work with the specified model",
            r"non-serverless model|on-demand throughput|end of (?:its )?life",
            r"no models? (?:\w{1,12} ){0,2}loaded|failed to load model|unexpected endpoint",
            r"模型[^\uff0c\u3002\n]{0,40}(?:不存在|已下线|未找到|不可用|未开通)|无可用渠道",
        ),
    ),
    (
        "permission",
        (
            r"do(?:es)? not have (?:the )?(?:permission|access) to (?:perform|use|access|call|the model)",
            r"not authori[sz]ed to (?:perform|use|access|invoke|call)|insufficient permissions",
            r"无权(?:访问|使用)",
        ),
    ),
    (
        "rate_limit",
        (
            r"\brate limit (?:is )?(?:exceeded|reached|hit)|too many (?:concurrent )?requests|rate limited",
            r"too many (?:input )?tokens",
            r"secondary rate limit|请求(?:过于频繁|过多|频率)|限流|并发数?过[高大多]",
        ),
    ),
    (
        "server_error",
        (
            r"degraded function|temporarily unavailable|server (?:is )?busy|model has crashed",
            r"(?:系统|服务器?)(?:繁忙|异常|内部错误)|稍后(?:再试|重试)",
        ),
    ),
    (
        "bad_request",
        (
            r"\b(?:response|file|thread|assistant|batch|conversation|item|vector store)s? with id\b",
            r"\bno (?:such )?(?:file|thread|assistant|batch|response) (?:object|found)",
            r"\bfile not found: file|cached ?content not found",
        ),
    ),
)

# A 429 is a limit of requests unless it says that the money is gone: a quota alone is none of money.
_WORDS_OF_429 = (
    ("context_length", (r"\b(?:request|input|prompt) (?:is )?too (?:large|long)",)),
    # A limit of nothing: no plan of the account's has this model, and no wait will change that.
    ("permission", (r"\blimit: 0(?![\d.]\d)",)),
    ("quota", (*_spent(_PAID), *_OUT_OF_MONEY)),
    ("overloaded", (r"overloaded|capacity|high demand|high traffic|not ready|负载",)),
)


@functools.cache
def patterns(*, of_429: bool) -> tuple[tuple[str, re.Pattern[str]], ...]:
    """Each reason and what tells of it, in the order in which they are searched.

    Compiled when they are first needed: most notebooks never see a failure that only its words explain.

    Args:
        of_429: Those for a 429, where a few things only are worth looking for.
    """
    rules = _WORDS_OF_429 if of_429 else _WORDS
    return tuple((reason, re.compile("|".join(alternatives))) for reason, alternatives in rules)
