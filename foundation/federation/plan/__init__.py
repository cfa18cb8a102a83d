"""The run plan: all that a server may ask of a site, typed and ranged."""

from foundation.contract import UnfitPlanError as UnfitPlanError
from foundation.federation.plan.contract import OrderHeader as OrderHeader
from foundation.federation.plan.contract import RunPlan as RunPlan
from foundation.federation.plan.contract import TaskSettings as TaskSettings
from foundation.federation.plan.contract import read_plan as read_plan
