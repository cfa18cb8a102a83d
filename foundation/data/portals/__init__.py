"""Public cohorts: a TCGA project from the open tier of the GDC, cBioPortal and TCIA, as a site folder."""
