"""Mergeable tables of counts and sums: one place computes them, hospitals add them, and the figure is the same.

Every table has a declared, fixed shape, so that what travels is a plain dict of int64 and float64 arrays that a message
or a secure sum can carry. The first axis of every array is `replicates`: row 0 is the patients as they are, rows 1 to B
are B bootstrap replicates of them. A figure is therefore an array `[replicates]`, NaN where it is not defined.

    scores = Grid.steps(0, 1, 1e-3)  # declared for all hospitals
    weights = poisson_weights(patients, replicates=500, key="run 7")  # [501, patients], the same wherever computed
    table = ScoreTable.from_patients(label, probability, scores, weights)
    arrays = table.to_arrays()  # leaves a hospital; sums of them are the pooled table's
    pooled = ScoreTable.empty(scores, replicates=500).filled(arrays)  # checks names and shapes
    pooled = table_of_one_hospital + table_of_another  # the same, at one place
    figure = Support().figure(pooled.auroc(), pooled.outcomes(), "AUROC, Mann-Whitney")

| module | holds |
| --- | --- |
| `grid` | `Grid`: values that scores or times are rounded to: `steps`, `months`; `exact`, `of_events` (one place) |
| `weights` | `poisson_weights`: patient bootstrap by a keyed hash of patient and replicate |
| `table` | `Table`: `+`, `empty`, `filled`, `to_arrays`, `total`, `row` |
| `scores` | `ScoreTable`: ROC, AUROC with certified bounds, AUPRC, DeLong, thresholds; `PairedScoreTable` |
| `probabilities` | `ProbabilityTable`: Brier, log loss, ECE, calibration curve, O/E, decision curve |
| `confusion` | `ConfusionTable`: several classes: accuracy, balanced accuracy, F1, Brier, log loss |
| `regression` | `RegressionTable`: MAE, RMSE, R squared, Pearson |
| `survival` | `SurvivalTable`: by time and score (or arm): Kaplan–Meier, Greenwood, Nelson–Aalen, RMST, log-rank |
| `concordance` | of a `SurvivalTable`: `harrell_c` and its bounds, `uno_c`, `time_dependent_auc`, `PairSums` |
| `horizons` | `HorizonTable`: Brier and integrated Brier with censoring weights, O/E at horizons; `DCalibrationTable` |
| `newton` | `NewtonSums`, `Newton`: the protocol of log-likelihood, gradient and information, summed |
| `logistic` | `logistic_sums` for `Newton`; `calibration_line`: slope and intercept from a `ScoreTable` |
| `cox` | `CoxSums`: S0, S1, S2 by event time (Efron, Breslow), pooled or site-stratified; gradient of a deep Cox loss |
| `weighted_cox` | `WeightedRiskTable`: hazard ratio of weighted arms with robust error, in one message |
| `figure` | `Support`, `Figure`: value, interval, counts, estimator; undefined below the support, with the reason |
| `hospitals` | `hospital_bootstrap`: replicates by drawing hospitals, the interval for a new one |
| `suppression` | `hide`: small cells of a table, and others that would tell them by subtraction |
| `betting` | `BettingTable`: sequential tests whose sums hospitals add, and alarms that hold at every look |
| `comparison` | paired differences on the same replicates, intervals that hold jointly, paired DeLong, Holm |
"""
