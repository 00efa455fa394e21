//! Named data of an account.

use stellar_xdr::{
    DataEntry, DataEntryExt, LedgerEntryData, ManageDataOp, ManageDataResult, OperationResult,
    OperationResultTr as R,
};

use super::{sponsorship, Outcome, Scope};
use crate::xdr;

fn failed(result: ManageDataResult) -> OperationResult {
    OperationResult::OpInner(R::ManageData(result))
}

pub(super) fn check_manage_data(op: &ManageDataOp) -> Result<(), OperationResult> {
    let name = op.data_name.0.as_slice();
    let valid = !name.is_empty() && name.iter().all(|b| b.is_ascii() && !b.is_ascii_control());
    if valid {
        Ok(())
    } else {
        Err(failed(ManageDataResult::InvalidName))
    }
}

pub(super) fn manage_data(scope: &mut Scope, op: &ManageDataOp) -> Outcome {
    let key = xdr::data_key(&scope.source, &op.data_name);
    let exists = scope.txn.state().get(&key).is_some();
    let Some(value) = &op.data_value else {
        if !exists {
            return Err(failed(ManageDataResult::NameNotFound));
        }
        let owner = scope.source.clone();
        sponsorship::release_entry(scope, &key, Some(&owner), 1);
        scope.txn.remove(&key);
        return Ok(R::ManageData(ManageDataResult::Success));
    };
    let entry = LedgerEntryData::Data(DataEntry {
        account_id: scope.source.clone(),
        data_name: op.data_name.clone(),
        data_value: value.clone(),
        ext: DataEntryExt::V0,
    });
    if exists {
        scope.txn.put(entry, None);
    } else {
        let owner = scope.source.clone();
        let ext = sponsorship::reserve_subentry(scope, &owner)
            .map_err(|e| e.as_result(failed(ManageDataResult::LowReserve)))?;
        scope.txn.put(entry, Some(ext));
    }
    Ok(R::ManageData(ManageDataResult::Success))
}
